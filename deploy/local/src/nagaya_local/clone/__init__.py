"""What belongs to one clone: its folders, keys, tokens, addresses, and what was chosen for it."""
