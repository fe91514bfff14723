"""The nouns of the service and their rules: no I/O, no protobuf, no SQL."""
