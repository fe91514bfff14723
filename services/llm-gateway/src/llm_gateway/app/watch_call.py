"""Watching a call that somebody else makes: its reply as it grows, in whichever process that is."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import aclosing
from typing import TYPE_CHECKING

from llm_gateway.domain.attempts import CallState
from llm_gateway.errors import CallNotFound, ReplyExpired
from llm_gateway.store import calls
from servicekit.errors import DomainError, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from dataplane.tenants import TenantPools
    from llm_gateway.app.in_flight import Cursor, InFlightCalls
    from llm_gateway.app.processes import GatewayProcesses
    from llm_gateway.app.stored_replies import StoredReplies
    from llm_gateway.domain.calls import CallKey, Delta, LlmCall
    from llm_gateway.peers.gateways import Gateways

_POLL_SECONDS = 0.3
_AFTER_FAILURE_SECONDS = (1.0, 2.0)
_log = logging.getLogger(__name__)


class CallWatcher:
    """Watches calls of any process of the gateway."""

    def __init__(
        self,
        tenants: TenantPools,
        in_flight: InFlightCalls,
        replies: StoredReplies,
        gateways: Gateways,
        processes: GatewayProcesses,
    ) -> None:
        self._tenants = tenants
        self._in_flight = in_flight
        self._replies = replies
        self._gateways = gateways
        self._processes = processes

    async def watch(
        self, tenant_id: str, key: CallKey, cursor: Cursor, *, relayed: bool
    ) -> AsyncGenerator[Delta | LlmCall]:
        """Yield the reply's text from the cursor on as it arrives, then the call once it has ended.

        `relayed` says that another process of the gateway asks: this one then asks no third.
        Raises CallNotFound, DataLoss, Unavailable.
        """
        failed = False
        while True:
            pause = _POLL_SECONDS
            in_flight = self._in_flight.find(tenant_id, key)
            if in_flight is not None:
                async for delta in in_flight.deltas(cursor, 0.0):
                    yield delta
            call, endpoint = await self._find(tenant_id, key)
            if not call.lease_live:
                break
            if endpoint != self._in_flight.endpoint and not relayed:
                try:
                    async with aclosing(self._from(endpoint, tenant_id, key, cursor)) as deltas:
                        async for delta in deltas:
                            yield delta
                except DomainError as error:  # the stored reply tells it
                    if not failed:
                        _log.info(
                            "a call in another process cannot be watched",
                            extra={"event": "llm_call.watch_postponed", "why": error.message},
                        )
                    failed = True
                    pause = random.uniform(*_AFTER_FAILURE_SECONDS)  # noqa: S311 - a jitter
            await asyncio.sleep(pause)
        if call.state is CallState.SETTLED:
            async for delta in self._stored(tenant_id, call, cursor):
                yield delta
        yield call

    async def _find(self, tenant_id: str, key: CallKey) -> tuple[LlmCall, str]:
        """Return a call, and where the process is reached that holds it."""
        async with self._tenants.connection(tenant_id) as connection:
            call = await calls.find(connection, key)
            endpoint = None if call is None else await calls.find_endpoint(connection, call.id)
        if call is None:
            raise CallNotFound(f"there is no call {key}")
        return call, endpoint or ""

    async def _from(
        self, endpoint: str, tenant_id: str, key: CallKey, cursor: Cursor
    ) -> AsyncGenerator[Delta]:
        """Yield what another process receives. Raises DomainError if that cannot be had.

        Only an address that a process of the gateway has announced is asked.
        """
        if not await self._processes.is_known(endpoint):
            raise Unavailable("no process of the gateway has announced its address")
        watch = self._gateways.watch(endpoint, tenant_id, key, cursor.offset, cursor.attempt)
        async with aclosing(watch) as deltas:
            async for delta in deltas:
                cursor.attempt, cursor.offset = delta.attempt, delta.offset + len(delta.text)
                yield delta

    async def _stored(self, tenant_id: str, call: LlmCall, cursor: Cursor) -> AsyncGenerator[Delta]:
        try:
            text = await self._replies.text(tenant_id, call)
            for delta in cursor.rest(call.reply_attempt, text):
                yield delta
        except ReplyExpired:
            return
