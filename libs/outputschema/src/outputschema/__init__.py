"""The JSON schema that a reply must fit: what is refused beforehand, what a reply is held to."""
