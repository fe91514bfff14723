"""The providers' wire formats, and the HTTP clients for them."""
