"""What a gRPC server on one event loop does with calls, whoever they are from."""
