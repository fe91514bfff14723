"""The gRPC methods of the service: unpack, call, pack."""
