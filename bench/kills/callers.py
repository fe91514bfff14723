"""Callers: each key is asked until its answer is final, whoever is killed meanwhile."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc
from tests.support.gateway_client import Refused

from nagaya.llm_gateway.v1 import (
    call_pb2,
    call_service_pb2,
    call_service_pb2_grpc,
    generation_service_pb2,
    generation_service_pb2_grpc,
)

if TYPE_CHECKING:
    from tests.support.processes import ServiceProcess

    from bench.kills.questions import Question
    from servicekit.testing import Keys

CALLERS = 32
CALL_SECONDS = 20.0
_KEY_SECONDS = 240.0
_UNKNOWN = "CALL_OUTCOME_UNKNOWN"
_OPTIONS = [
    ("grpc.enable_retries", 0),  # nothing may be sent again behind our back
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
]


@dataclass(frozen=True, slots=True)
class Answer:
    """A settled call, as a caller was told of it."""

    question: Question
    call: call_pb2.Call
    reply: bytes | None = None
    """The reply's bytes, where they were asked for."""
    text: str | None = None
    """The reply's text as it was streamed, put together from all streams that broke."""
    replayed: bool = False


@dataclass(slots=True)
class Received:
    """Everything that callers received."""

    answers: list[Answer] = field(default_factory=list["Answer"])
    unknown: list[Question] = field(default_factory=list["Question"])
    """Of which a caller was told that the outcome is unknown."""
    refusals: Counter[str] = field(default_factory=Counter[str])
    gaps: list[str] = field(default_factory=list[str])
    """Streams whose pieces do not follow each other."""
    unanswered: list[str] = field(default_factory=list[str])
    silent: list[str] = field(default_factory=list[str])
    """Calls that got no answer, not even a refusal, until the caller had no more time."""
    done: int = 0
    """How many keys have their final answer."""


class GatewayCaller:
    """A channel to one process of the gateway."""

    def __init__(self, process: ServiceProcess, keys: Keys) -> None:
        self._signer = keys.signer("runs")
        self._channel = grpc.aio.insecure_channel(process.address, options=_OPTIONS)
        self.generations = generation_service_pb2_grpc.GenerationServiceStub(self._channel)
        self.calls = call_service_pb2_grpc.CallServiceStub(self._channel)

    async def get_reply(self, question: Question) -> tuple[str, bytes]:
        """Return a reply's digest and bytes, as GetReply sends them. Raises AioRpcError."""
        request = call_service_pb2.GetReplyRequest(
            tenant_id=question.tenant_id, key=question.spec.key
        )
        digest, data = "", b""
        async for part in self.calls.GetReply(
            request, timeout=CALL_SECONDS, metadata=self.credentials(question.tenant_id)
        ):
            digest = part.call.output_digest or digest
            data += part.data
        return digest, data

    def credentials(self, tenant_id: str) -> list[tuple[str, str]]:
        return [("authorization", f"Bearer {self._signer.token(tenant_id, 'ada')}")]

    async def close(self) -> None:
        await self._channel.close()


class Callers:
    """Ask all questions, so many at once, by turns at the gateways."""

    def __init__(self, gateways: list[GatewayCaller]) -> None:
        self._gateways = gateways
        self.received = Received()

    async def ask_all(self, asked: list[Question]) -> None:
        waiting = iter(asked)

        async def caller() -> None:
            for question in waiting:
                turns = (0, 1) if question.raced else (question.spec.key.item % 2,)
                await asyncio.gather(*(self.ask(question, turn) for turn in turns))
                self.received.done += 1

        await asyncio.gather(*(caller() for _ in range(CALLERS)))

    async def ask(self, question: Question, turn: int, received: Received | None = None) -> None:
        """Ask for a key until its answer is final; the gateways take turns."""
        received = received or self.received
        stream = _Stream(question, received)
        until = time.monotonic() + _KEY_SECONDS
        while time.monotonic() < until:
            gateway = self._gateways[turn % len(self._gateways)]
            try:
                if question.streamed:
                    answer = await stream.answer(gateway)
                else:
                    answer = await _unary(question, gateway)
            except grpc.aio.AioRpcError as error:
                refused = Refused(error)
                if refused.code is grpc.StatusCode.DEADLINE_EXCEEDED:
                    received.silent.append(f"{time.time():.1f} {question.name} at {turn % 2}")
                received.refusals[f"{refused.code.name} {refused.reason}".strip()] += 1
                if refused.reason != _UNKNOWN:
                    turn += 1
                    await asyncio.sleep(random.uniform(0.02, 0.2))  # noqa: S311 - a jitter
                    continue
                received.unknown.append(question)
            else:
                received.answers.append(answer)
            return
        received.unanswered.append(question.name)


async def _unary(question: Question, gateway: GatewayCaller) -> Answer:
    request = generation_service_pb2.GenerateRequest(
        tenant_id=question.tenant_id, spec=question.spec, include_reply=question.replied
    )
    response = await gateway.generations.Generate(
        request, timeout=CALL_SECONDS, metadata=gateway.credentials(question.tenant_id)
    )
    reply = response.reply if question.replied else None
    return Answer(question, response.call, reply, replayed=response.replayed)


class _Stream:
    """A streamed reply; a stream that broke is resumed where it broke."""

    def __init__(self, question: Question, received: Received) -> None:
        self._question = question
        self._received = received
        self._attempt: int = 0
        self._text = ""

    async def answer(self, gateway: GatewayCaller) -> Answer:
        """Listen until the call comes. Raises AioRpcError when the stream breaks."""
        question = self._question
        request = generation_service_pb2.StreamGenerateRequest(
            tenant_id=question.tenant_id,
            spec=question.spec,
            offset=len(self._text),
            attempt=self._attempt,
        )
        call = call_pb2.Call()
        async for event in gateway.generations.StreamGenerate(
            request, timeout=CALL_SECONDS, metadata=gateway.credentials(question.tenant_id)
        ):
            if event.WhichOneof("event") == "call":
                call = event.call
            else:
                self._add(event.delta)
        if not call.output_digest:
            self._received.gaps.append(f"{question.name}: a stream ended without its call")
        return Answer(question, call, text=self._text)

    def _add(self, delta: generation_service_pb2.TextDelta) -> None:
        if delta.attempt != self._attempt:
            self._attempt, self._text = delta.attempt, ""
        if delta.offset != len(self._text):
            self._received.gaps.append(
                f"{self._question.name}: {delta.offset} follows {len(self._text)}"
            )
        self._text += delta.text
