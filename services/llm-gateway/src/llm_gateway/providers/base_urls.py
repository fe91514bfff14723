"""Base URLs of providers: which are allowed, and how paths are joined to them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from llm_gateway.errors import BaseUrlRefused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llm_gateway.providers.wire_format import WireFormatAdapter

_VERSION = re.compile(r"/v\d+((alpha|beta|preview)\d*)?(?=/|$)")
_DEFAULT_VERSION = "/v1"


class BaseUrls:
    """Allows https to every host, and plain http only to hosts that are configured."""

    def __init__(self, http_hosts: Iterable[str]) -> None:
        self._http_hosts = frozenset(host.lower() for host in http_hosts)

    def check(self, base_url: str) -> None:
        """Raise BaseUrlRefused if a provider's base URL may not be used."""
        try:
            parsed = urlsplit(base_url)
            host = parsed.hostname or ""
        except ValueError:  # not a URL
            raise BaseUrlRefused("") from None
        secure = parsed.scheme == "https" and host
        if not secure and (parsed.scheme != "http" or host not in self._http_hosts):
            raise BaseUrlRefused(host)

    def join(self, base_url: str, path: str, adapter: WireFormatAdapter) -> str:
        """Return the URL of a request. Raises BaseUrlRefused.

        The base URL may end in an endpoint, as providers' pages show it: that is removed. One with
        a version in its path, such as `https://host/v1beta/openai`, keeps it; another gets the
        version of `path`, unless it has a path of its own and the provider's SDK would add nothing,
        as OpenAI's to `https://host/inference`. A query stays at the end.
        """
        self.check(base_url)
        base, _, query = base_url.partition("?")
        base = adapter.endpoint.sub("", base.rstrip("/")).rstrip("/")
        own = urlsplit(base).path
        if _VERSION.search(own) or (own and not adapter.versioned):
            path = path.removeprefix(_DEFAULT_VERSION)
        joint = "&" if "?" in path else "?"
        return f"{base}{path}{joint}{query}" if query else base + path
