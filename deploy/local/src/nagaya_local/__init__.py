"""Nagaya on one machine: PostgreSQL, S3, Temporal, the stub, the services and Envoy."""
