"""Choosing the model of a call: the cached catalogue, and the rules."""
