"""Which model serves a call: the catalogue as this process knows it, and the rules that choose."""
