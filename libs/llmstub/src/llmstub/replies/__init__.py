"""What the stub says: deterministic prose and instances of JSON schemas, made from the prompt."""
