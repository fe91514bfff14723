"""Other systems that do a part of what Nagaya does; each is installed on demand, pinned, apart."""
