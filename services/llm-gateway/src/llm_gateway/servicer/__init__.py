"""The gRPC methods of the llm-gateway service: read the request, call, write the response."""
