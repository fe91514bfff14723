"""A request for a reply: joins the call in flight, replays the settled one, or starts a call."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llm_gateway.app.in_flight import ANSWER_SECONDS
from llm_gateway.app.stored_replies import MESSAGE_BYTES
from llm_gateway.domain.callers import check_caller
from llm_gateway.domain.requests import UnknownPolicy
from llm_gateway.errors import CallInFlight, CallKeyReused, CallOutcomeUnknown
from servicekit.call import current_call, current_principal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from llm_gateway.app.execute import CallExecutor
    from llm_gateway.app.in_flight import Cursor, InFlightCall, InFlightCalls
    from llm_gateway.app.stored_replies import StoredReplies
    from llm_gateway.domain.calls import Delta, LlmCall
    from llm_gateway.domain.requests import CallRequest

_DEFAULT_SECONDS = 900.0
_COMMITS_FILES = "runs"
"""The workload that gives files with a request which it has committed."""


@dataclass(frozen=True, slots=True)
class GenerateResult:
    """A settled call, and whether this request cost nothing."""

    call: LlmCall
    replayed: bool
    reply: bytes = b""
    """The reply, where it was asked for and fits into a message."""


class RequestHandler:
    """Raises KeyReserved, what CallExecutor raises, and CallKeyReused for a key in flight."""

    def __init__(
        self, in_flight: InFlightCalls, executor: CallExecutor, replies: StoredReplies
    ) -> None:
        self._in_flight = in_flight
        self._executor = executor
        self._replies = replies

    async def generate(self, request: CallRequest, *, include_reply: bool) -> GenerateResult:
        """Return the call once its reply is stored, and the reply itself if it is asked for."""
        request, deadline = _with_caller(request), _deadline()
        while True:
            in_flight, started = await self._join_or_start(request, deadline)
            call = await self._settled(in_flight, request, deadline)
            if call is not None:
                break
        replayed = not (started and in_flight.has_sent)
        reply = await self._reply(in_flight, call) if include_reply else b""
        return GenerateResult(call, replayed=replayed, reply=reply)

    async def stream(self, request: CallRequest, cursor: Cursor) -> AsyncGenerator[Delta | LlmCall]:
        """Yield the reply's text from the cursor on as it arrives, then the call."""
        request, deadline = _with_caller(request), _deadline()
        while True:
            in_flight, _ = await self._join_or_start(request, deadline)
            async for delta in in_flight.deltas(cursor, deadline - ANSWER_SECONDS):
                yield delta
            call = await self._settled(in_flight, request, deadline)
            if call is not None:
                break
        if in_flight.attempt != call.reply_attempt:  # another process received its text
            structured = request.output_schema is not None
            text = await self._replies.text(request.tenant_id, call, structured=structured)
            for delta in cursor.rest(call.reply_attempt, text):
                yield delta
        yield call

    async def _reply(self, in_flight: InFlightCall, call: LlmCall) -> bytes:
        """Return the reply to a call, if it fits into a message."""
        if in_flight.body is None:
            return await self._replies.in_message(in_flight.request.tenant_id, call)
        return in_flight.body if len(in_flight.body) <= MESSAGE_BYTES else b""

    async def _settled(
        self, in_flight: InFlightCall, request: CallRequest, deadline: float
    ) -> LlmCall | None:
        """Wait for a call, which goes on when the caller goes away.

        None when it stopped at a policy of FAIL where this request says REDO. Raises CallInFlight
        near the deadline when another process is working on it, and when this process stops.
        """
        if not await in_flight.has_ended(deadline - ANSWER_SECONDS):
            if in_flight.held_elsewhere:
                raise CallInFlight
            await asyncio.wait((in_flight.task,))
        try:
            return in_flight.task.result()
        except asyncio.CancelledError:
            message = "the process that made this call stops, and another may go on with it"
            raise CallInFlight(message) from None
        except CallOutcomeUnknown:
            policies = (in_flight.request.unknown_policy, request.unknown_policy)
            if policies == (UnknownPolicy.FAIL, UnknownPolicy.REDO):
                return None
            raise

    async def _join_or_start(
        self, request: CallRequest, deadline: float
    ) -> tuple[InFlightCall, bool]:
        """Return the call in flight under the request's key, and whether it was started now."""
        while (in_flight := self._in_flight.find(request.tenant_id, request.key)) is not None:
            if in_flight.request.digest == request.digest:
                in_flight.deadline = max(in_flight.deadline, deadline)
                return in_flight, False
            if in_flight.owns_key:
                raise CallKeyReused(in_flight.request.digest)
            await asyncio.wait((in_flight.task,))  # it may be the one that is refused
        return self._in_flight.start(request, deadline, self._executor.execute), True


def _with_caller(request: CallRequest) -> CallRequest:
    """Return the request with its caller. Raises KeyReserved."""
    principal, call = current_principal(), current_call()
    check_caller(request.key, principal.workload)
    request_id = "" if call is None else call.request_id
    files: Mapping[str, bytes] = request.files if principal.workload == _COMMITS_FILES else {}
    return replace(request, user_id=principal.user_id, request_id=request_id, files=files)


def _deadline() -> float:
    """Return the caller's deadline, on the clock of time.monotonic."""
    call = current_call()
    remaining = None if call is None else call.remaining()
    return time.monotonic() + (_DEFAULT_SECONDS if remaining is None else remaining)
