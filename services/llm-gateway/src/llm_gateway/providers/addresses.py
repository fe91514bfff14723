"""Where requests with a key in them may go."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from llm_gateway.errors import BaseUrlRefused

if TYPE_CHECKING:
    from collections.abc import Iterable

_VERSION = re.compile(r"/v\d[a-z0-9]*$")
_OUR_VERSION = "/v1"


class Addresses:
    """Allows https to every host, and plain http only to hosts that are configured."""

    def __init__(self, http_hosts: Iterable[str]) -> None:
        self._http_hosts = frozenset(host.lower() for host in http_hosts)

    def check(self, base_url: str) -> None:
        """Raise BaseUrlRefused if a provider's base URL may not be used."""
        try:
            parsed = urlsplit(base_url)
            host = parsed.hostname or ""
        except ValueError:  # no such address can be
            raise BaseUrlRefused("") from None
        secure = parsed.scheme == "https" and host
        if not secure and (parsed.scheme != "http" or host not in self._http_hosts):
            raise BaseUrlRefused(host)

    def join(self, base_url: str, path: str) -> str:
        """Return the address of a request. Raises BaseUrlRefused.

        A base URL that ends in a version of its own, such as `https://host/openai/v1`, keeps it.
        """
        self.check(base_url)
        base = base_url.rstrip("/")
        has_version = _VERSION.search(urlsplit(base).path) is not None
        return base + (path.removeprefix(_OUR_VERSION) if has_version else path)
