"""The wire formats: from a provider's request to an Ask, from an Answer to the provider's bytes."""
