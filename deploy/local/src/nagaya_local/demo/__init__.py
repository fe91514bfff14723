"""`nagaya dev demo`: two customers, one pipeline, two runs at once."""
