"""The process that keeps the parts running, and the state that it writes."""
