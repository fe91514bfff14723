"""What the llm-gateway service decides."""
