"""An OpenID Connect issuer: its keys, fetched again as they change."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp

from authentication.oidc.documents import fetch_keys, trusting
from authentication.tokens import KeyUnknown
from servicekit.errors import IssuerUnavailable
from servicekit.retries import Backoff, RetryLog

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from authentication.keys import KeySet, PublicKey

_REFRESH_SECONDS = 600.0
_BACKOFF = Backoff(1.0, 30.0)
_INTERVAL_SECONDS = 5.0
_MOST_WAITING = 1000
_log = logging.getLogger(__name__)


class Issuer:
    """The keys of an issuer: enter it, and they are fetched in the background, and kept fresh.

    They are fetched every ten minutes, and earlier when a token names one that is not known, but
    five seconds apart at least. While the issuer is away, the keys stay as they are.
    """

    def __init__(self, url: str, ca_file: Path | None = None) -> None:
        self.url = url
        self.generation = 0
        """How often the keys have changed."""
        self._ca_file = ca_file
        self._keys: KeySet = {}
        self._is_away = False
        self._wanted = asyncio.Event()
        self._attempt = asyncio.Event()
        self._waiting = 0
        self._running = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Begin to fetch. Raises StartRefused when the file of authorities holds none."""
        connector = aiohttp.TCPConnector(ssl=trusting(self._ca_file))
        # What is asked without TLS is asked on this machine: no proxy may answer instead.
        by_proxy = urlsplit(self.url).scheme == "https"
        session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=by_proxy
        )
        self._running.push_async_callback(session.close)
        fetching = asyncio.create_task(self._keep_fresh(session))
        self._running.push_async_callback(asyncio.wait, (fetching,))
        self._running.callback(fetching.cancel)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._running.aclose()

    async def keys(self, kid: str) -> tuple[PublicKey, ...]:
        """Return the keys of a `kid`; one that is not known is waited for.

        Raises KeyUnknown when the issuer has no such key, IssuerUnavailable when nobody can tell.
        """
        if kid not in self._keys and not self._is_away:
            await self._next_attempt()
        if kid in self._keys:
            return self._keys[kid]
        self._wanted.set()
        if self._is_away:
            raise IssuerUnavailable("the keys of the issuer of people's tokens cannot be fetched")
        raise KeyUnknown

    async def _next_attempt(self) -> None:
        if self._waiting >= _MOST_WAITING:
            raise IssuerUnavailable("many tokens wait for the keys of their issuer")
        self._wanted.set()
        self._waiting += 1
        try:
            await self._attempt.wait()
        finally:
            self._waiting -= 1

    async def _keep_fresh(self, session: aiohttp.ClientSession) -> None:
        log = RetryLog(
            _log, "issuer.unavailable", "the keys of an issuer cannot be fetched", issuer=self.url
        )
        delays = _BACKOFF.delays()
        while True:
            try:
                self._take(await fetch_keys(session, self.url))
            except IssuerUnavailable as problem:
                self._is_away, delay = True, next(delays)
                log.failed(problem)
            except Exception:
                # A defect must not end this task: whoever waits for a key would wait for ever.
                self._is_away, delay = True, next(delays)
                _log.exception(
                    "the keys of an issuer could not be read",
                    extra={"event": "issuer.read_failed", "issuer": self.url},
                )
            else:
                self._is_away, delay, delays = False, _REFRESH_SECONDS, _BACKOFF.delays()
                log.succeeded()
            attempt, self._attempt = self._attempt, asyncio.Event()
            attempt.set()
            await self._pause(delay)

    def _take(self, keys: KeySet) -> None:
        if keys == self._keys:
            return
        self._keys = keys
        self.generation += 1
        _log.info(
            "the keys of an issuer have changed",
            extra={"event": "issuer.keys_changed", "issuer": self.url, "kids": sorted(keys)},
        )

    async def _pause(self, seconds: float) -> None:
        """Wait, or until keys are wanted, but for the least interval at least."""
        earliest = time.monotonic() + min(_INTERVAL_SECONDS, seconds)
        self._wanted.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):  # Python 3.11's wait_for may lose a cancellation
                await self._wanted.wait()
        await asyncio.sleep(max(0.0, earliest - time.monotonic()))
