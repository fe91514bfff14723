"""One call, from the request to the end of its response and of its log entry."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llmstub import faults, tokens
from llmstub.calls import End
from llmstub.faults import (
    Answered,
    Broken,
    Drop,
    ErrorEvent,
    Failed,
    Hang,
    Hold,
    Status,
    TruncatedJson,
    UnknownEvent,
)
from llmstub.formats.wire_format import dumps
from llmstub.sender import Dropped, Sender

if TYPE_CHECKING:
    from aiohttp import web

    from llmstub.domain import Answer, Problem
    from llmstub.faults import Action
    from llmstub.formats.wire_format import Frame, WireFormat
    from llmstub.gate import Gate
    from llmstub.script import Rule
    from llmstub.settings import Latency

_ENDS_AS_ITSELF = (ErrorEvent, Failed, TruncatedJson)


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be done for one call: an answer, a count, or a refusal."""

    format: WireFormat
    request_id: str
    answer: Answer | None
    counted: bytes | None
    refusal: Problem | None
    rule: Rule | None
    latency: Latency


class Exchange:
    def __init__(self, task: Task, request: web.Request, gate: Gate, *, log_bodies: bool) -> None:
        self._task = task
        self._format = task.format
        self._action: Action | None = task.rule.action if task.rule else None
        cut = self._action.after_bytes if isinstance(self._action, Drop) else None
        self._sender = Sender(request, cut)
        self._gate = gate
        self._log_bodies = log_bodies
        self._said: list[str] = []  # the pieces of the visible text sent so far
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

    def end(self, otherwise: str) -> End:
        """Return the entry for the log; `otherwise` is the outcome if the call was cut short.

        Charged is all input, the reasoning, and of the reply what was sent until then.
        """
        fault = None if self._action is None else faults.name_of(self._action)
        outcome = self._outcome or otherwise
        answer = self._task.answer
        if answer is None or self._sender.status in (None, *range(300, 600)):
            return End(outcome, fault, self._sender.status)
        said = "".join(self._said)
        usage = replace(answer.reply.usage, output=tokens.count(said))
        return End(
            outcome=outcome,
            fault=fault,
            status=self._sender.status,
            input_tokens=usage.input,
            cached_tokens=usage.cache_read,
            cache_write_tokens=usage.cache_write,
            output_tokens=usage.output,
            reasoning_tokens=usage.reasoning,
            finish_reason=self._format.finish_reason(answer.reply) if outcome == "ok" else None,
            reply_digest=hashlib.sha256(said.encode()).hexdigest(),
            reply=said if self._log_bodies else None,
        )

    async def _answer(self) -> None:
        task = self._task
        if task.rule is not None and task.rule.delay_ms:
            await asyncio.sleep(task.rule.delay_ms / 1000)
        if task.refusal is not None:
            await self._send_error(task.refusal)
            self._outcome = "refused"
        elif isinstance(self._action, Answered):
            await self._send_error(self._action.problem(self._format.provider))
            self._outcome = faults.name_of(self._action)
        elif task.counted is not None:
            await self._send(task.counted)
            self._outcome = "ok"
        elif task.answer is not None:
            await self._reply(task.answer)

    async def _reply(self, answer: Answer) -> None:
        if not answer.ask.stream or self._turn(answer) is None:
            await self._pause()
        if answer.ask.stream:
            await self._stream(answer)
        else:
            await self._whole(answer)
        action = self._action
        self._outcome = faults.name_of(action) if isinstance(action, _ENDS_AS_ITSELF) else "ok"

    async def _whole(self, answer: Answer) -> None:
        latency = self._task.latency
        milliseconds = latency.first_token_ms + latency.chunk_ms * len(answer.reply.pieces)
        await asyncio.sleep(milliseconds / 1000)
        body = self._format.whole(answer)
        if isinstance(self._action, ErrorEvent):
            problem = self._action.problem(self._format.provider)
            body = self._format.error(problem, self._task.request_id)
        elif isinstance(self._action, Failed):
            body = self._format.failed(answer, self._action.problem(self._format.provider))
        elif isinstance(self._action, UnknownEvent):
            unknown = self._format.unknown_frame().data
            body = (unknown if isinstance(unknown, dict) else {}) | body
        data = dumps(body).encode()
        if isinstance(self._action, TruncatedJson):
            data = _half(data)
        if not isinstance(self._action, ErrorEvent | Failed):
            self._said = [*answer.reply.pieces]
        await self._send(data)

    async def _stream(self, answer: Answer) -> None:
        headers = {**self._headers(), "Content-Type": "text/event-stream; charset=utf-8"}
        await self._sender.begin(200, {**headers, "Cache-Control": "no-cache"})
        latency, turn = self._task.latency, self._turn(answer)
        chunks, index = 0, 0
        for frame in self._format.frames(answer):
            if chunks == turn and (chunks or frame.text or not answer.reply.pieces):
                turn = None
                if await self._step_in(answer, frame, index):
                    break
                index += isinstance(self._action, UnknownEvent)
            if frame.text:
                wait = latency.chunk_ms if chunks else latency.first_token_ms
                await asyncio.sleep(wait / 1000)
                chunks += 1
                self._said.append(frame.text)
            await self._sender.write(self._format.encode(frame, index))
            index += 1
        await self._sender.end()

    def _turn(self, answer: Answer) -> int | None:
        """Return after how many chunks the script steps in: at the latest, before the last."""
        action = self._action
        if not isinstance(action, Broken | Hang | Hold) or action.after_chunks is None:
            return None
        return min(action.after_chunks, max(0, len(answer.reply.pieces) - 1))

    async def _step_in(self, answer: Answer, frame: Frame, index: int) -> bool:
        """Do between two events what the script says; return whether the stream ends with it."""
        action = self._action
        await self._pause()
        if isinstance(action, TruncatedJson):
            await self._sender.write(_half(self._format.encode(frame, index)) + b"\n\n")
        elif isinstance(action, Broken):
            broken = self._broken_frame(action, answer)
            await self._sender.write(self._format.encode(broken, index))
        return isinstance(action, _ENDS_AS_ITSELF)

    def _broken_frame(self, action: Broken, answer: Answer) -> Frame:
        match action:
            case ErrorEvent():
                problem = action.problem(self._format.provider)
                return self._format.error_frame(problem, self._task.request_id)
            case Failed():
                problem = action.problem(self._format.provider)
                return self._format.failed_frame(answer, problem)
            case _:
                return self._format.unknown_frame()

    async def _pause(self) -> None:
        """Stand still if the script says so. Raises Dropped."""
        if self._task.rule is None or not isinstance(self._action, Hang | Hold):
            return
        await self._gate.wait(self._task.rule.name)
        if isinstance(self._action, Hang):
            self._sender.drop()
            raise Dropped

    async def _send(self, body: bytes) -> None:
        headers = {**self._headers(), "Content-Type": "application/json"}
        await self._sender.whole(200, headers, body)

    async def _send_error(self, problem: Problem) -> None:
        headers = {**self._headers(), "Content-Type": "application/json"}
        body = self._format.error(problem, self._task.request_id)
        if isinstance(self._action, Status):
            body = body if self._action.body is None else self._action.body
            headers |= self._action.headers
        elif isinstance(self._action, faults.Overloaded):
            headers |= self._action.headers
        await self._sender.whole(problem.status, headers, dumps(body).encode())

    def _headers(self) -> dict[str, str]:
        return {self._format.request_id_header: self._task.request_id}


def _half(data: bytes) -> bytes:
    return data[: len(data) // 2].decode(errors="ignore").encode()
