"""What the service decides, one module per noun."""
