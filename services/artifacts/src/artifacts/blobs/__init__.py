"""The object store: a place for bytes that can put whole objects, read ranges, list and delete."""
