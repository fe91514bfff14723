"""The databases of the tenants, and the management database, as services reach them."""
