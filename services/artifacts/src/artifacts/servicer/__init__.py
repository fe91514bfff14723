"""The gRPC methods of the artifacts service."""
