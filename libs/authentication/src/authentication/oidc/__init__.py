"""People of an OpenID Connect issuer: its configuration, its keys, its groups."""
