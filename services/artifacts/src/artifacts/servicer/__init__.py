"""The gRPC methods of the artifacts service: unpack, call, pack."""
