"""What all services share: channels, identity, policies, errors, settings, telemetry."""
