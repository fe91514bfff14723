"""Contents of replies: recorded texts for prompts, sampled instances for JSON schemas."""
