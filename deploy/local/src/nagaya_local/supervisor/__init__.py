"""The process that keeps the parts alive, and what it writes for those who ask."""
