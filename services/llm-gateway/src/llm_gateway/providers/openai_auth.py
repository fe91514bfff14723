"""The default base URL and the authorization header of OpenAI's two wire formats."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

HOME = "https://api.openai.com"
_AZURE = ".azure.com"


def authorization(key: str, host: str) -> Mapping[str, str]:
    """Return the header that carries a key; Azure has one of its own for keys."""
    if host.endswith(_AZURE):
        return {"api-key": key}
    return {"authorization": f"Bearer {key}"}
