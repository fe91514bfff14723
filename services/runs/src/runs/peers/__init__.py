"""The services that this one calls, in its own terms."""
