"""The peers of runs, played: artifacts and llm-gateway as far as the tests need them."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nagaya.artifacts.v1 import artifact_pb2, artifact_service_pb2, artifact_service_pb2_grpc
from nagaya.llm_gateway.v1 import (
    call_pb2,
    generation_service_pb2,
    generation_service_pb2_grpc,
)
from servicekit import status
from servicekit.errors import DomainError, Internal, NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from interceptor.server import Context


class FakeArtifacts(artifact_service_pb2_grpc.ArtifactServiceServicer):
    """Of artifacts, what the tests need: small files are taken, and looked up."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        """Digests by path."""
        self.contents: dict[str, bytes] = {}
        self.batches = 0
        self.sent: list[str] = []
        """The paths of all files that came, one after another."""
        self.refusal: DomainError | None = None
        """What is answered to whoever wants to commit a file."""
        self.refused = asyncio.Event()
        self.dies_after: int | None = None
        """How many files of the next request are committed before whoever asks dies."""
        self.died = asyncio.Event()
        self.copied = asyncio.Event()
        """Set to let copies come to their end."""
        self.values: DomainError | bytes = Internal("no file is kept here")
        """What is answered to whoever wants to read values of files."""

    async def BatchPutArtifacts(
        self, request: artifact_service_pb2.BatchPutArtifactsRequest, context: Context
    ) -> artifact_service_pb2.BatchPutArtifactsResponse:
        if self.refusal is not None:
            self.refused.set()
            raise self.refusal
        self.batches += 1
        results: list[artifact_service_pb2.BatchPutArtifactsResponse.Result] = []
        for number, item in enumerate(request.items):
            if number == self.dies_after:
                self.died.set()
                await asyncio.Event().wait()
            path = f"storage/acme/{item.draft.run_id}/{item.draft.step}/{item.draft.name}"
            self.sent.append(path)
            digest = self.files.setdefault(path, hashlib.sha256(item.data).hexdigest())
            self.contents.setdefault(path, item.data)
            artifact = artifact_pb2.Artifact(path=path, digest=digest, summary=item.draft.summary)
            results.append(artifact_service_pb2.BatchPutArtifactsResponse.Result(artifact=artifact))
        return artifact_service_pb2.BatchPutArtifactsResponse(results=results)

    async def CopyArtifact(
        self, request: artifact_service_pb2.CopyArtifactRequest, context: Context
    ) -> artifact_service_pb2.CopyArtifactResponse:
        await self.copied.wait()
        draft = request.target
        path = f"storage/acme/{draft.run_id}/{draft.step}/{draft.name}"
        self.files[path] = request.source.digest
        artifact = artifact_pb2.Artifact(path=path, digest=request.source.digest)
        return artifact_service_pb2.CopyArtifactResponse(artifact=artifact)

    async def BatchGetArtifacts(
        self, request: artifact_service_pb2.BatchGetArtifactsRequest, context: Context
    ) -> artifact_service_pb2.BatchGetArtifactsResponse:
        result = artifact_service_pb2.BatchGetArtifactsResponse.Result()
        if isinstance(self.values, bytes):
            result.data = self.values
        else:
            result.status.CopyFrom(status.to_proto(self.values, "artifacts.nagaya.dev"))
        return artifact_service_pb2.BatchGetArtifactsResponse(
            results=[result] * len(request.pointers)
        )

    async def GetArtifact(
        self, request: artifact_service_pb2.GetArtifactRequest, context: Context
    ) -> artifact_service_pb2.GetArtifactResponse:
        if request.path not in self.files:
            raise NotFound("no file is committed at this path")
        artifact = artifact_pb2.Artifact(
            path=request.path,
            digest=self.files[request.path],
            summary="2 characters",
            metrics={"characters": 2},
        )
        return artifact_service_pb2.GetArtifactResponse(artifact=artifact)


@dataclass
class PlayedCall:
    """A call whose text grows as a test says."""

    attempt: int = 1
    text: str = ""
    ended: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def grow(self, text: str, *, attempt: int = 0) -> None:
        """Add to the text, or begin that of another attempt."""
        self.text = text if attempt else self.text + text
        self.attempt = attempt or self.attempt
        self.changed.set()

    def end(self) -> None:
        self.ended = True
        self.changed.set()


class FakeLlmGateway(generation_service_pb2_grpc.GenerationServiceServicer):
    """The methods of llm-gateway that this side of the service calls."""

    def __init__(self) -> None:
        self.asked: list[generation_service_pb2.ResolveRequest] = []
        self.refusals: dict[str, DomainError] = {}
        """By step."""
        self.answering = asyncio.Event()
        self.answering.set()
        self.calls: dict[tuple[str, int, int], PlayedCall] = {}
        """By step, element and visit."""

    async def Resolve(
        self, request: generation_service_pb2.ResolveRequest, context: Context
    ) -> generation_service_pb2.ResolveResponse:
        self.asked.append(request)
        await self.answering.wait()
        if request.step in self.refusals:
            raise self.refusals[request.step]
        return generation_service_pb2.ResolveResponse()

    async def WatchCall(
        self, request: generation_service_pb2.WatchCallRequest, context: Context
    ) -> AsyncGenerator[generation_service_pb2.WatchCallResponse]:
        key = (request.key.step, request.key.item, request.key.visit)
        if key not in self.calls:
            raise NotFound("there is no such call")
        call, attempt, offset = self.calls[key], request.attempt, request.offset
        while True:
            call.changed.clear()
            if attempt not in (0, call.attempt):
                offset = 0
            attempt = call.attempt
            if text := call.text[offset:]:
                delta = generation_service_pb2.TextDelta(attempt=attempt, offset=offset, text=text)
                offset += len(text)
                yield generation_service_pb2.WatchCallResponse(delta=delta)
            if call.ended:
                yield generation_service_pb2.WatchCallResponse(call=call_pb2.Call(key=request.key))
                return
            await call.changed.wait()
