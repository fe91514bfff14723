"""What the service needs of a key management service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


class KeyManagementService(Protocol):
    """Encrypts and decrypts a few bytes with a key that never leaves it.

    `context` is authenticated: what was encrypted with one context is decrypted with no other.
    Both methods raise KeyManagementUnavailable and KeyManagementRefused.
    """

    async def encrypt(self, plaintext: bytes, context: Mapping[str, str]) -> str:
        """Return the ciphertext, as text."""
        ...

    async def decrypt(self, ciphertext: str, context: Mapping[str, str]) -> bytes:
        """Return the plaintext."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...
