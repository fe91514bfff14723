"""Moving a tenant's database to another server."""
