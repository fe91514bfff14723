"""Clients of other services, in terms of the domain."""
