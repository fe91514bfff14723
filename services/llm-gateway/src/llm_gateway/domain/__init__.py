"""What the llm-gateway service is about, free of protobuf and SQL."""
