"""Origins of pages: which of them may call from a browser."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

LOOPBACK = ("http://localhost:*", "http://127.0.0.1:*")
"""Every page that this machine itself shows."""
ANY_PORT = ":*"
_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:([0-9]{1,5}|\*))?")


def read_origins(texts: Iterable[str]) -> tuple[str, ...]:
    """Return origins such as `https://app.example.com`; `http://localhost:*` has any port.

    Raises ValueError with a sentence when one has another form.
    """
    origins = tuple(texts)
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(
                f"{origin} is no origin of a page: write https://HOST or http://HOST:PORT, in "
                "lower case and without a path; the port may be *"
            )
    return origins
