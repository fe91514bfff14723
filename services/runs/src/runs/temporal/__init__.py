"""Temporal, as both processes use it: the client and what it may write into a history."""
