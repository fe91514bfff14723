"""Breaks a running stack in known ways, and judges which alerts fire and clear."""
