"""The providers' wire formats, and the sockets to them."""
