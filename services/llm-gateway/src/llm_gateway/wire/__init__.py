"""Conversions between protobuf messages and the domain."""
