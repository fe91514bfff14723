"""The tables of the service, one module per noun. SQL stands beside its arguments."""
