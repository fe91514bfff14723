"""What OpenAI's two formats have in common: the address, and how a key is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

HOME = "https://api.openai.com"
_AZURE = ".azure.com"


def authorization(key: str, host: str) -> Mapping[str, str]:
    """Return the header that carries a key; Azure's takes a token as bearer, and a key here."""
    if host.endswith(_AZURE):
        return {"api-key": key}
    return {"authorization": f"Bearer {key}"}
