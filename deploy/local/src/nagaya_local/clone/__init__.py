"""What belongs to one clone: folders, keys, tokens, addresses, settings."""
