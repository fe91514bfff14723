"""Bundles: everything of one tenant, as a directory or a tar."""
