"""Calls of a key management service: POST with a JSON body, and what their ends mean."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

import aiohttp

from tenant.errors.keys import KeyManagementRefused, KeyManagementUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

_TIMEOUT = aiohttp.ClientTimeout(total=10.0, sock_connect=3.0)
_MOST_BYTES = 64 << 10
_TOO_MANY_REQUESTS = 429
_SERVER_ERROR = 500


class JsonCaller:
    """Sends requests to one service, over connections that are kept.

    Certificates are checked by the system's authorities, or those of SSL_CERT_FILE. A redirection
    is not followed: the request holds a key.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._session: aiohttp.ClientSession | None = None

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, object]]:
        """Return the status and the JSON object of the response, below status 500.

        Raises KeyManagementUnavailable when there is none, or a later call may succeed.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=_TIMEOUT, trust_env=True)
        try:
            async with self._session.post(
                url, data=body, headers=headers, allow_redirects=False
            ) as response:
                text, status = await _read(response.content), response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise KeyManagementUnavailable(self._name, type(error).__name__) from error
        if status >= _SERVER_ERROR or status == _TOO_MANY_REQUESTS:
            raise KeyManagementUnavailable(self._name, f"status {status}")
        try:
            found: object = json.loads(text)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise KeyManagementRefused(self._name, f"status {status}, and no JSON object")
        return status, cast("dict[str, object]", found)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()


async def _read(content: aiohttp.StreamReader) -> bytes:
    """Return a body as far as it is of any use: `read` alone returns what has come so far."""
    text = bytearray()
    async for part in content.iter_any():
        text += part
        if len(text) >= _MOST_BYTES:
            break
    return bytes(text)
