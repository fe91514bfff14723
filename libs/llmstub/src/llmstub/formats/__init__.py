"""The wire formats: reading requests, writing replies and errors as each provider does."""
