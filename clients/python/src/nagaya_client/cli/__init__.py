"""The `nagaya` command."""
