"""How the stub counts tokens: one for every four bytes of UTF-8, begun ones counted whole.

So English costs a token for four characters and Japanese three tokens for four, which is near
what the providers charge, and anybody can recount a reply without a tokenizer.
"""

from __future__ import annotations

import hashlib

from llmstub.domain import CachedPrefix

BYTES_PER_TOKEN = 4
LEAST_CACHED = 1024  # shorter prompts are not cached, as with the providers


def count(text: str) -> int:
    return of_bytes(len(text.encode()))


def of_bytes(size: int) -> int:
    return -(-size // BYTES_PER_TOKEN)


def cut(text: str, tokens: int) -> str:
    """Return the longest beginning of a text that costs at most so many tokens."""
    return text.encode()[: max(tokens, 0) * BYTES_PER_TOKEN].decode(errors="ignore")


def cached_prefix(prefix: str, *, is_long: bool = False) -> CachedPrefix | None:
    """Return how a prefix that may be cached is charged; None when it is too short."""
    size = count(prefix)
    if size < LEAST_CACHED:
        return None
    is_hit = hashlib.sha256(prefix.encode()).digest()[0] % 2 == 0
    return CachedPrefix(size, is_hit=is_hit, is_long=is_long)
