"""The terms of the llm-gateway service, without protobuf and SQL."""
