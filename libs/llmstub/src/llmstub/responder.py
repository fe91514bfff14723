"""The sending of one response, with the faults that the script puts into it."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llmstub import faults, tokens
from llmstub.call_log import CallEnd
from llmstub.faults import (
    BrokenReply,
    Drop,
    ErrorAction,
    ErrorEvent,
    Failed,
    Hang,
    Hold,
    Status,
    TruncatedJson,
    UnknownEvent,
)
from llmstub.formats.wire_format import dumps
from llmstub.response_sender import Dropped, ResponseSender

if TYPE_CHECKING:
    from aiohttp import web

    from llmstub.domain import Answer, ApiError
    from llmstub.faults import Action
    from llmstub.formats.wire_format import ServerSentEvent, WireFormat
    from llmstub.held_calls import HeldCalls
    from llmstub.script import Rule
    from llmstub.settings import Latency

_ENDS_AS_ITSELF = (ErrorEvent, Failed, TruncatedJson)


@dataclass(frozen=True, slots=True)
class PlannedResponse:
    """The response of one call, decided before a byte is sent: an answer, a count, or a refusal."""

    format: WireFormat
    request_id: str
    answer: Answer | None
    counted: bytes | None
    refusal: ApiError | None
    rule: Rule | None
    latency: Latency


class Responder:
    """Sends one planned response and says what to log about it."""

    def __init__(
        self,
        plan: PlannedResponse,
        request: web.Request,
        held_calls: HeldCalls,
        *,
        log_bodies: bool,
    ) -> None:
        self._plan = plan
        self._format = plan.format
        self._action: Action | None = plan.rule.action if plan.rule else None
        cut = self._action.after_bytes if isinstance(self._action, Drop) else None
        self._sender = ResponseSender(request, cut)
        self._held_calls = held_calls
        self._log_bodies = log_bodies
        self._sent_text: list[str] = []  # the chunks of the visible text sent so far
        self._outcome: str | None = None

    async def run(self) -> web.StreamResponse:
        """Answer the call. Raises CancelledError when the client is gone or the stub stops."""
        try:
            await self._answer()
        except Dropped:
            self._outcome = "dropped"
        except ConnectionError:
            self._outcome = "client_gone"
        return self._sender.response

    def end(self, otherwise: str) -> CallEnd:
        """Return the entry for the log; `otherwise` is the outcome if the call was cut short.

        Charged is all input, the reasoning, and of the reply what was sent until then.
        """
        fault = None if self._action is None else faults.name_of(self._action)
        outcome = self._outcome or otherwise
        answer = self._plan.answer
        if answer is None or self._sender.status in (None, *range(300, 600)):
            return CallEnd(outcome, fault, self._sender.status)
        sent = "".join(self._sent_text)
        usage = replace(answer.reply.usage, output=tokens.count(sent))
        return CallEnd(
            outcome=outcome,
            fault=fault,
            status=self._sender.status,
            input_tokens=usage.input,
            cached_tokens=usage.cache_read,
            cache_write_tokens=usage.cache_write,
            output_tokens=usage.output,
            reasoning_tokens=usage.reasoning,
            finish_reason=self._format.finish_reason(answer.reply) if outcome == "ok" else None,
            reply_digest=hashlib.sha256(sent.encode()).hexdigest(),
            reply=sent if self._log_bodies else None,
        )

    async def _answer(self) -> None:
        plan = self._plan
        if plan.rule is not None and plan.rule.delay_ms:
            await asyncio.sleep(plan.rule.delay_ms / 1000)
        if plan.refusal is not None:
            await self._send_error(plan.refusal)
            self._outcome = "refused"
        elif isinstance(self._action, ErrorAction):
            await self._send_error(self._action.api_error(self._format.provider))
            self._outcome = faults.name_of(self._action)
        elif plan.counted is not None:
            await self._send(plan.counted)
            self._outcome = "ok"
        elif plan.answer is not None:
            await self._reply(plan.answer)

    async def _reply(self, answer: Answer) -> None:
        if not answer.request.stream or self._fault_position(answer) is None:
            await self._pause()
        if answer.request.stream:
            await self._stream(answer)
        else:
            await self._whole(answer)
        action = self._action
        self._outcome = faults.name_of(action) if isinstance(action, _ENDS_AS_ITSELF) else "ok"

    async def _whole(self, answer: Answer) -> None:
        latency = self._plan.latency
        milliseconds = latency.first_token_ms + latency.chunk_ms * len(answer.reply.chunks)
        await asyncio.sleep(milliseconds / 1000)
        body = self._format.whole(answer)
        if isinstance(self._action, ErrorEvent):
            api_error = self._action.api_error(self._format.provider)
            body = self._format.error(api_error, self._plan.request_id)
        elif isinstance(self._action, Failed):
            body = self._format.failed(answer, self._action.api_error(self._format.provider))
        elif isinstance(self._action, UnknownEvent):
            unknown = self._format.unknown_event().data
            body = (unknown if isinstance(unknown, dict) else {}) | body
        data = dumps(body).encode()
        if isinstance(self._action, TruncatedJson):
            data = _half(data)
        if not isinstance(self._action, ErrorEvent | Failed):
            self._sent_text = [*answer.reply.chunks]
        await self._send(data)

    async def _stream(self, answer: Answer) -> None:
        headers = {**self._headers(), "Content-Type": "text/event-stream; charset=utf-8"}
        await self._sender.begin(200, {**headers, "Cache-Control": "no-cache"})
        latency, turn = self._plan.latency, self._fault_position(answer)
        chunks, index = 0, 0
        for event in self._format.events(answer):
            if chunks == turn and (chunks or event.text or not answer.reply.chunks):
                turn = None
                if await self._apply_fault(answer, event, index):
                    break
                index += isinstance(self._action, UnknownEvent)
            if event.text:
                wait = latency.chunk_ms if chunks else latency.first_token_ms
                await asyncio.sleep(wait / 1000)
                chunks += 1
                self._sent_text.append(event.text)
            await self._sender.write(self._format.encode(event, index))
            index += 1
        await self._sender.end()

    def _fault_position(self, answer: Answer) -> int | None:
        """Return before which chunk the fault happens; at the latest, before the last one."""
        action = self._action
        if not isinstance(action, BrokenReply | Hang | Hold) or action.after_chunks is None:
            return None
        return min(action.after_chunks, max(0, len(answer.reply.chunks) - 1))

    async def _apply_fault(self, answer: Answer, event: ServerSentEvent, index: int) -> bool:
        """Apply the rule's action between two events; return whether the stream ends with it."""
        action = self._action
        await self._pause()
        if isinstance(action, TruncatedJson):
            await self._sender.write(_half(self._format.encode(event, index)) + b"\n\n")
        elif isinstance(action, BrokenReply):
            broken = self._broken_frame(action, answer)
            await self._sender.write(self._format.encode(broken, index))
        return isinstance(action, _ENDS_AS_ITSELF)

    def _broken_frame(self, action: BrokenReply, answer: Answer) -> ServerSentEvent:
        match action:
            case ErrorEvent():
                api_error = action.api_error(self._format.provider)
                return self._format.error_event(api_error, self._plan.request_id)
            case Failed():
                api_error = action.api_error(self._format.provider)
                return self._format.failed_event(answer, api_error)
            case _:
                return self._format.unknown_event()

    async def _pause(self) -> None:
        """Wait for a release if the rule holds the call or lets it hang. Raises Dropped."""
        if self._plan.rule is None or not isinstance(self._action, Hang | Hold):
            return
        await self._held_calls.wait(self._plan.rule.name)
        if isinstance(self._action, Hang):
            self._sender.drop()
            raise Dropped

    async def _send(self, body: bytes) -> None:
        headers = {**self._headers(), "Content-Type": "application/json"}
        await self._sender.whole(200, headers, body)

    async def _send_error(self, api_error: ApiError) -> None:
        headers = {**self._headers(), "Content-Type": "application/json"}
        body = self._format.error(api_error, self._plan.request_id)
        if isinstance(self._action, Status):
            body = body if self._action.body is None else self._action.body
            headers |= self._action.headers
        elif isinstance(self._action, faults.Overloaded):
            headers |= self._action.headers
        await self._sender.whole(api_error.status, headers, dumps(body).encode())

    def _headers(self) -> dict[str, str]:
        return {self._format.request_id_header: self._plan.request_id}


def _half(data: bytes) -> bytes:
    return data[: len(data) // 2].decode(errors="ignore").encode()
