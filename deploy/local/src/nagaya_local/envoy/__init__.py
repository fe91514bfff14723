"""Envoy in front of each service, configured from the contracts."""
