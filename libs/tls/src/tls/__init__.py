"""TLS between services: addresses, certificates that are read again, workloads' names."""
