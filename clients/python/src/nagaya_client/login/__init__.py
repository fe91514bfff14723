"""How a person logs in at an OpenID Connect provider, and how the login is kept and renewed."""
