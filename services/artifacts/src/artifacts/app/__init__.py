"""What the artifacts service decides."""
