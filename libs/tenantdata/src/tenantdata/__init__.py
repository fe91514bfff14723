"""What a service keeps of tenants outside of their databases: shown, and removed for ever."""
