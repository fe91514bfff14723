"""The receivers of webhooks, over HTTP."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from runs.domain.receivers import is_literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runs.domain.receivers import AllowedReceivers

GONE = "410"
"""What a receiver answers that wants to be told nothing any more."""

_TIMEOUT = aiohttp.ClientTimeout(total=10.0, sock_connect=5.0)
_CONNECTIONS = 512  # more than are sent at once: a request's time begins before it has one


class WebhookReceivers:
    """Sends messages to receivers; never to an address that is not allowed, however it is named."""

    def __init__(self, allowed: AllowedReceivers) -> None:
        self._allowed = allowed
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> str:
        """Send a message; return why it was not taken, empty if it was.

        Redirects are not followed and replies are not read. The text has nothing of the reply but
        its status.
        """
        fault = self._allowed.fault(url)
        if fault:
            return fault
        try:
            async with self._session(url).post(
                url, data=body, headers=headers, allow_redirects=False
            ) as response:
                return "" if 200 <= response.status < 300 else str(response.status)
        except TimeoutError:
            return "no answer within 10 seconds"
        except aiohttp.ClientConnectorDNSError as error:
            return _reason(error.os_error, "its name cannot be resolved")
        except aiohttp.ClientConnectorCertificateError:
            return "its certificate is not valid for its name"
        except aiohttp.ClientSSLError:
            return "no TLS connection can be made"
        except aiohttp.ClientConnectorError as error:
            return _reason(error.os_error, "no connection can be made")
        except (aiohttp.ClientError, OSError, ValueError):
            return "the connection broke"

    async def close(self) -> None:
        """Close every connection."""
        for session in self._sessions.values():
            await session.close()

    def _session(self, url: str) -> aiohttp.ClientSession:
        encrypted = url.startswith("https://")
        if encrypted not in self._sessions:
            resolver = _CheckedResolver(self._allowed, encrypted=encrypted)
            self._sessions[encrypted] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=resolver, limit=_CONNECTIONS),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=_TIMEOUT,
                auto_decompress=False,
                trust_env=False,  # a proxy would reach what we must not
            )
        return self._sessions[encrypted]


class AddressRefused(OSError):
    """A name stands for no address that may be connected to."""


class _CheckedResolver(AbstractResolver):
    """Resolves names to allowed addresses: what is connected to is what was checked."""

    def __init__(self, allowed: AllowedReceivers, *, encrypted: bool) -> None:
        self._allowed = allowed
        self._encrypted = encrypted
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        if is_literal(host):
            raise AddressRefused("it is no address in its usual form")
        found = await self._resolver.resolve(host, port, family)
        usable = [
            one for one in found if self._allowed.allows(one["host"], encrypted=self._encrypted)
        ]
        if not usable:
            raise AddressRefused("its name stands for no public address")
        return usable

    async def close(self) -> None:
        await self._resolver.close()


def _reason(error: OSError, otherwise: str) -> str:
    return str(error) if isinstance(error, AddressRefused) else otherwise
