"""The gRPC methods of the llm-gateway service: unpack, call, pack."""
