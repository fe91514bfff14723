"""What files, their names and their contents are."""
