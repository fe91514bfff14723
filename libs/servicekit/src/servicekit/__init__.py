"""What the services of Nagaya share: server, channel, identity, errors, tenant pools, telemetry."""
