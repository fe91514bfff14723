"""The output of an llm step, whichever way the llm-gateway has its reply."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc
import pytest

from nagaya.artifacts.v1 import (
    artifact_pb2,
    artifact_service_pb2,
    artifact_service_pb2_grpc,
    upload_pb2,
    upload_service_pb2,
    upload_service_pb2_grpc,
)
from nagaya.llm_gateway.v1 import (
    call_pb2,
    call_service_pb2,
    call_service_pb2_grpc,
    generation_service_pb2,
    generation_service_pb2_grpc,
)
from runs.domain.activities import StepRef
from runs.domain.failures import StepFailed
from runs.domain.generation import GenerationRequest
from runs.domain.pipelines import LlmStep, Retry, StepSpec
from runs.peers.artifacts import Artifacts
from runs.peers.llm_gateway import LlmGateway
from runs.worker.activities.replies import ReplyCommitter

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from interceptor.server import Context
    from runs.domain.runs import OutputFile

RUN = "00000000-0000-4000-8000-000000000000"
OUTPUT = f"storage/acme/{RUN}/ask/output.json"
REPLY = f"storage/acme/{RUN}/ask/artifacts/0-1/call-1.json"
MIB = 1 << 20


def reply_of(content: object) -> bytes:
    return b'{"content":' + json.dumps(content).encode() + b',"finish_reason":"stop"}'


class Gateway(
    generation_service_pb2_grpc.GenerationServiceServicer,
    call_service_pb2_grpc.CallServiceServicer,
):
    """Has one settled call; `in_message` and `path` tell how its reply is to be had."""

    def __init__(self) -> None:
        self.reply = b""
        self.in_message = True
        self.path = ""
        self.streamed = 0

    @property
    def call(self) -> call_pb2.Call:
        return call_pb2.Call(
            output_path=self.path,
            output_digest=hashlib.sha256(self.reply).hexdigest(),
            finish_reason=call_pb2.FINISH_REASON_STOP,
            usage=call_pb2.Usage(input_tokens=3, output_tokens=5),
        )

    async def Generate(
        self, request: generation_service_pb2.GenerateRequest, context: Context
    ) -> generation_service_pb2.GenerateResponse:
        sent = self.reply if request.include_reply and self.in_message else b""
        return generation_service_pb2.GenerateResponse(call=self.call, reply=sent)

    async def GetReply(
        self, request: call_service_pb2.GetReplyRequest, context: Context
    ) -> AsyncIterator[call_service_pb2.GetReplyResponse]:
        self.streamed += 1
        yield call_service_pb2.GetReplyResponse(call=self.call)
        for begin in range(0, len(self.reply), MIB):
            yield call_service_pb2.GetReplyResponse(data=self.reply[begin : begin + MIB])


class Files(
    artifact_service_pb2_grpc.ArtifactServiceServicer,
    upload_service_pb2_grpc.UploadServiceServicer,
):
    """Takes files, and notes by which method each came."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}
        self.by: list[str] = []
        self.uploading: upload_service_pb2.CreateUploadRequest | None = None
        self.copied: artifact_service_pb2.CopyArtifactRequest | None = None

    async def BatchPutArtifacts(
        self, request: artifact_service_pb2.BatchPutArtifactsRequest, context: Context
    ) -> artifact_service_pb2.BatchPutArtifactsResponse:
        (item,) = request.items
        committed = self._commit("put", item.draft, item.data)
        result = artifact_service_pb2.BatchPutArtifactsResponse.Result(artifact=committed)
        return artifact_service_pb2.BatchPutArtifactsResponse(results=[result])

    async def CreateUpload(
        self, request: upload_service_pb2.CreateUploadRequest, context: Context
    ) -> upload_service_pb2.CreateUploadResponse:
        self.uploading = request
        return upload_service_pb2.CreateUploadResponse(upload=upload_pb2.Upload(upload_id=RUN))

    async def UploadArtifact(
        self,
        request_iterator: AsyncIterator[artifact_service_pb2.UploadArtifactRequest],
        context: Context,
    ) -> artifact_service_pb2.UploadArtifactResponse:
        assert self.uploading is not None
        data = b"".join([message.data async for message in request_iterator])
        assert hashlib.sha256(data).hexdigest() == self.uploading.digest
        assert len(data) == self.uploading.size_bytes
        committed = self._commit("upload", self.uploading.draft, data)
        return artifact_service_pb2.UploadArtifactResponse(artifact=committed)

    async def BatchGetArtifacts(
        self, request: artifact_service_pb2.BatchGetArtifactsRequest, context: Context
    ) -> artifact_service_pb2.BatchGetArtifactsResponse:
        assert [pointer.json_pointer for pointer in request.pointers] == ["/content/score"]
        result = artifact_service_pb2.BatchGetArtifactsResponse.Result(data=b"7.5")
        return artifact_service_pb2.BatchGetArtifactsResponse(results=[result])

    async def CopyArtifact(
        self, request: artifact_service_pb2.CopyArtifactRequest, context: Context
    ) -> artifact_service_pb2.CopyArtifactResponse:
        self.copied = request
        return artifact_service_pb2.CopyArtifactResponse(
            artifact=self._commit("copy", request.target, b"")
        )

    def _commit(
        self, by: str, draft: artifact_pb2.ArtifactDraft, data: bytes
    ) -> artifact_pb2.Artifact:
        path = f"storage/acme/{draft.run_id}/{draft.step}/{draft.name}"
        self.bodies[path] = data
        self.by.append(by)
        return artifact_pb2.Artifact(
            path=path,
            digest=hashlib.sha256(data).hexdigest(),
            metrics=draft.metrics,
            fractional_metrics=draft.fractional_metrics,
        )


@dataclass
class Step:
    """An llm step of a worker whose peers are played."""

    peer: LlmGateway
    replies: ReplyCommitter
    gateway: Gateway
    files: Files
    metrics: dict[str, str] = field(default_factory=dict[str, str])
    values: dict[str, str] = field(default_factory=dict[str, str])

    async def run(self) -> OutputFile:
        ref = StepRef("acme", RUN, 1, "ask")
        request = GenerationRequest(ref, ("Write.",), None, None, 0, None, False, False)  # noqa: FBT003
        kind = LlmStep(0, (), None, None, 0, redo_unknown=False)
        spec = StepSpec("ask", (), kind, None, "", 60, Retry(1, 1), self.metrics, self.values)
        result = await self.peer.generate(request)
        return await self.replies.commit(ref, request.call, spec, result)


@pytest.fixture
async def step() -> AsyncGenerator[Step]:
    gateway = Gateway()  # pyright: ignore[reportAbstractUsage] - nothing else is called
    files = Files()  # pyright: ignore[reportAbstractUsage] - nothing else is called
    server = grpc.aio.server()
    generation_service_pb2_grpc.add_GenerationServiceServicer_to_server(gateway, server)
    call_service_pb2_grpc.add_CallServiceServicer_to_server(gateway, server)
    artifact_service_pb2_grpc.add_ArtifactServiceServicer_to_server(files, server)
    upload_service_pb2_grpc.add_UploadServiceServicer_to_server(files, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        peer, artifacts = LlmGateway(channel), Artifacts(channel)
        yield Step(peer, ReplyCommitter(peer, artifacts), gateway, files)
    await server.stop(None)


async def test_a_reply_leaves_one_file_which_holds_its_content(step: Step) -> None:
    step.gateway.reply = b'{"content":{"score": 7.50, "id": 12345678901234567890},"model":"m"}'
    step.metrics = {"score": "/score"}

    output = await step.run()

    assert step.files.bodies == {OUTPUT: b'{"score":7.50,"id":12345678901234567890}'}
    assert output.output_path == OUTPUT
    assert output.numbers == {"input_tokens": 3, "output_tokens": 5, "score": 7.5}
    assert (step.files.by, step.gateway.streamed) == (["put"], 0)


@pytest.mark.parametrize(
    ("content", "values", "expected"),
    [
        ("invoice", {"kind": ""}, {"kind": "invoice"}),
        (
            {"kind": "請求書", "ok": False},
            {"k": "/kind", "ok": "/ok"},
            {"k": "請求書", "ok": False},
        ),
    ],
)
async def test_the_values_of_a_reply_are_kept_with_the_output(
    step: Step, content: object, values: dict[str, str], expected: dict[str, object]
) -> None:
    step.gateway.reply, step.values = reply_of(content), values

    assert (await step.run()).values == expected


async def test_a_reply_that_is_too_long_for_a_message_is_streamed_and_uploaded(step: Step) -> None:
    content = "crab 🦀" * (MIB // 2)
    step.gateway.reply, step.gateway.in_message = reply_of(content), False

    output = await step.run()

    assert json.loads(step.files.bodies[OUTPUT]) == content
    assert output.output_digest == hashlib.sha256(step.files.bodies[OUTPUT]).hexdigest()
    assert (step.files.by, step.gateway.streamed) == (["upload"], 1)


async def test_a_reply_that_is_a_file_of_an_older_gateway_is_copied_there(step: Step) -> None:
    step.gateway.reply, step.gateway.in_message = reply_of({"score": 7.5}), False
    step.gateway.path, step.metrics = REPLY, {"score": "/score"}

    output = await step.run()

    assert step.files.copied is not None
    source = step.files.copied.source
    assert (source.path, source.json_pointer) == (REPLY, "/content")
    assert source.digest == step.gateway.call.output_digest
    assert output.numbers["score"] == 7.5
    assert (step.files.by, step.gateway.streamed) == (["copy"], 0)


async def test_a_file_of_an_older_gateway_is_not_read_again_when_its_bytes_came(step: Step) -> None:
    step.gateway.reply, step.gateway.path = reply_of("text"), REPLY

    await step.run()

    assert (step.files.bodies, step.files.by) == ({OUTPUT: b'"text"'}, ["put"])


async def test_a_reply_that_is_longer_than_an_output_may_be_fails_its_step(step: Step) -> None:
    step.gateway.reply, step.gateway.in_message = reply_of("x" * 17 * MIB), False

    with pytest.raises(StepFailed) as failed:
        await step.run()

    assert (failed.value.reason, failed.value.final) == ("REPLY_TOO_LARGE", True)
    assert step.files.bodies == {}
