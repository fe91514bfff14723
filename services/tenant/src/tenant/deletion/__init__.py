"""The end of a tenant: all of it is removed and looked for again, and a certificate says so."""
