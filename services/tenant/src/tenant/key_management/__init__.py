"""Key management services: they encrypt the data keys with which secrets are encrypted."""
