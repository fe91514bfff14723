"""Files arrive whole and verified, or not at all."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

import grpc
import pytest
from tests.unit.client.api import Refusal

from nagaya.artifacts.v1 import artifact_pb2, artifact_service_pb2, upload_pb2, upload_service_pb2
from nagaya.tenant.v1 import transfer_service_pb2
from nagaya_client import bundles
from nagaya_client.cli.main import run
from nagaya_client.errors import ApiError, BundleRefused, BytesCorrupt
from nagaya_client.transfer import UploadTarget
from nagaya_client.transfer_retries import ATTEMPTS, pause_seconds

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.client.api import Api, RecordedCall

    from nagaya_client.client import Client

RUN_ID = "0192f0c1-2345-7000-8000-000000000001"
UPLOAD_ID = "0192f0c1-2345-7000-8000-000000000002"
PATH = f"storage/acme/{RUN_ID}/outline/output.json"
CONTENT = bytes(range(256)) * 4096
DIGEST = hashlib.sha256(CONTENT).hexdigest()
CHUNK = 100_000
BROKEN = Refusal(grpc.StatusCode.UNAVAILABLE, "", reason="")
RECORD = artifact_pb2.Artifact(path=PATH, digest=DIGEST, size_bytes=len(CONTENT))


def serving(*ends: object, chunks: int = 4) -> Callable[[RecordedCall], list[object]]:
    """Sends the file from the offset on; after a few chunks comes an ending, for None the end."""
    left = list(ends)

    def download(call: RecordedCall) -> list[object]:
        offset: int = call.request.offset
        parts = [CONTENT[i : i + CHUNK] for i in range(offset, len(CONTENT), CHUNK)]
        sent = parts[:chunks] if left else parts
        cut = [end for end in left[:1] if end is not None]
        del left[:1]
        data = (artifact_service_pb2.DownloadArtifactResponse(data=part) for part in sent)
        return [artifact_service_pb2.DownloadArtifactResponse(artifact=RECORD), *data, *cut]

    return download


async def test_a_download_appears_whole_and_verified(
    api: Api, client: Client, tmp_path: Path
) -> None:
    api.on("DownloadArtifact", serving())

    artifact = await client.download("acme", PATH, tmp_path / "x.bin")

    assert (tmp_path / "x.bin").read_bytes() == CONTENT
    assert artifact == RECORD
    assert names_in(tmp_path) == ["x.bin"]


async def test_a_download_that_breaks_goes_on_where_it_broke(
    api: Api, client: Client, tmp_path: Path
) -> None:
    api.on("DownloadArtifact", serving(BROKEN, BROKEN))

    await client.download("acme", PATH, tmp_path / "x.bin")

    assert (tmp_path / "x.bin").read_bytes() == CONTENT
    asked = [(call.request.offset, call.request.digest) for call in api.calls]
    assert asked == [(0, ""), (4 * CHUNK, DIGEST), (8 * CHUNK, DIGEST)]


async def test_a_download_that_ends_before_the_file_does_goes_on(
    api: Api, client: Client, tmp_path: Path
) -> None:
    api.on("DownloadArtifact", serving(None, None))

    await client.download("acme", PATH, tmp_path / "x.bin")

    assert (tmp_path / "x.bin").read_bytes() == CONTENT
    assert [call.request.offset for call in api.calls] == [0, 4 * CHUNK, 8 * CHUNK]


async def test_a_download_that_never_goes_on_is_given_up(
    api: Api, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nagaya_client.transfer_retries._LONGEST_PAUSE_SECONDS", 0.01)
    head = artifact_service_pb2.DownloadArtifactResponse(artifact=RECORD)
    api.on("DownloadArtifact", [head, artifact_service_pb2.DownloadArtifactResponse(data=b"")])

    with pytest.raises(ApiError, match="the stream ended after 0 bytes"):
        await client.download("acme", PATH, tmp_path / "x.bin")
    assert len(api.calls) == ATTEMPTS
    assert names_in(tmp_path) == []


def test_a_transfer_is_tried_for_longer_than_load_balancers_keep_a_server_that_died() -> None:
    error = ApiError(grpc.StatusCode.UNAVAILABLE, "broken")

    assert sum(pause_seconds(error, failures) for failures in range(1, ATTEMPTS)) > 3
    with pytest.raises(ApiError, match="broken"):
        pause_seconds(error, ATTEMPTS)


async def test_a_bundle_that_ends_too_early_goes_on(
    api: Api, client: Client, tmp_path: Path
) -> None:
    parts = [b"no ", b"bundle"]

    def answer(_: RecordedCall) -> list[object]:
        size = transfer_service_pb2.DownloadBundleResponse(size_bytes=9)
        return [size, transfer_service_pb2.DownloadBundleResponse(data=parts.pop(0))]

    api.on("DownloadBundle", answer)

    with pytest.raises(BundleRefused):  # once it is whole
        await bundles.fetch(client.transfers, "acme", UPLOAD_ID, tmp_path / "x.tar")
    assert [call.request.offset for call in api.calls] == [0, 3]
    assert names_in(tmp_path) == []


async def test_transfers_wait_as_long_as_the_service_says(
    api: Api, client: Client, tmp_path: Path
) -> None:
    busy = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", retry_after_ms=500)
    uploaded = artifact_service_pb2.UploadArtifactResponse(artifact=RECORD)
    answers: list[object] = [busy, uploaded]
    api.on("DownloadArtifact", serving(busy))
    api.on("CreateUpload", announced)
    api.on("UploadArtifact", lambda _: answers.pop(0))

    began = time.monotonic()
    await client.download("acme", PATH, tmp_path / "x.bin")
    downloaded = time.monotonic()
    await client.upload("acme", UploadTarget(RUN_ID, "outline"), tmp_path / "x.bin")

    assert downloaded - began >= 0.5
    assert time.monotonic() - downloaded >= 0.5


@pytest.mark.parametrize(
    "spoil",
    [lambda data: data[:-1], lambda data: data + b"x", lambda data: b"x" + data[1:]],
    ids=["short", "long", "another byte"],
)
async def test_wrong_bytes_leave_no_file(
    api: Api, client: Client, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    (tmp_path / "x.bin").write_bytes(b"of before")
    responses = [
        artifact_service_pb2.DownloadArtifactResponse(artifact=RECORD),
        artifact_service_pb2.DownloadArtifactResponse(data=spoil(CONTENT)),
    ]
    api.on("DownloadArtifact", responses)

    with pytest.raises(BytesCorrupt, match=DIGEST):
        await client.download("acme", PATH, tmp_path / "x.bin")

    assert names_in(tmp_path) == ["x.bin"]
    assert (tmp_path / "x.bin").read_bytes() == b"of before"


async def test_a_refused_download_leaves_no_file(api: Api, client: Client, tmp_path: Path) -> None:
    api.on("DownloadArtifact", Refusal(grpc.StatusCode.NOT_FOUND))
    with pytest.raises(ApiError):
        await client.download("acme", PATH, tmp_path / "x.bin")
    assert names_in(tmp_path) == []


def names_in(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


def announced(_: RecordedCall) -> upload_service_pb2.CreateUploadResponse:
    return upload_service_pb2.CreateUploadResponse(
        upload=upload_pb2.Upload(upload_id=UPLOAD_ID, path=PATH)
    )


async def test_an_upload_announces_digest_and_size_and_sends_the_bytes(
    api: Api, client: Client, tmp_path: Path
) -> None:
    source = tmp_path / "x.bin"
    source.write_bytes(CONTENT)
    api.on("CreateUpload", announced)
    api.on("UploadArtifact", artifact_service_pb2.UploadArtifactResponse(artifact=RECORD))

    artifact = await client.upload("acme", UploadTarget(RUN_ID, "outline", item=3), source)

    assert artifact == RECORD
    (create,) = api.called("CreateUpload")
    assert (create.request.digest, create.request.size_bytes) == (DIGEST, len(CONTENT))
    assert (create.request.draft.step, create.request.draft.item) == ("outline", 3)
    (sent,) = api.called("UploadArtifact")
    assert (sent.request.tenant_id, sent.request.upload_id) == ("acme", UPLOAD_ID)
    assert b"".join(part.data for part in sent.requests[1:]) == CONTENT
    assert max(len(part.data) for part in sent.requests) <= 1 << 20


async def test_a_file_that_is_there_already_is_not_sent(
    api: Api, client: Client, tmp_path: Path
) -> None:
    source = tmp_path / "x.bin"
    source.write_bytes(CONTENT)
    api.on("CreateUpload", upload_service_pb2.CreateUploadResponse(artifact=RECORD))

    assert await client.upload("acme", UploadTarget(RUN_ID, "outline"), source) == RECORD
    assert api.called("UploadArtifact") == []


async def test_an_upload_that_breaks_is_sent_again(
    api: Api, client: Client, tmp_path: Path
) -> None:
    source = tmp_path / "x.bin"
    source.write_bytes(CONTENT)
    answers = [BROKEN, artifact_service_pb2.UploadArtifactResponse(artifact=RECORD)]
    api.on("CreateUpload", announced)
    api.on("UploadArtifact", lambda _: answers.pop(0))

    assert await client.upload("acme", UploadTarget(RUN_ID, "outline"), source) == RECORD
    assert len(api.called("UploadArtifact")) == 2


async def test_a_refused_upload_is_not_repeated(api: Api, client: Client, tmp_path: Path) -> None:
    source = tmp_path / "x.bin"
    source.write_bytes(CONTENT)
    api.on("CreateUpload", announced)
    reason = "ERROR_REASON_DIGEST_MISMATCH"
    api.on("UploadArtifact", Refusal(grpc.StatusCode.DATA_LOSS, "other bytes", reason))

    with pytest.raises(ApiError) as refused:
        await client.upload("acme", UploadTarget(RUN_ID, "outline"), source)

    assert refused.value.reason == reason
    assert len(api.called("UploadArtifact")) == 1


@pytest.mark.usefixtures("here")
def test_cat_writes_the_bytes_as_they_are(
    api: Api, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    api.on("DownloadArtifact", serving())
    assert run(["artifact", "cat", PATH]) == 0
    assert capfdbinary.readouterr().out == CONTENT


@pytest.mark.usefixtures("here")
def test_put_names_the_file_after_itself(
    api: Api, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "notes.json").write_bytes(b"{}")
    api.on("CreateUpload", announced)
    api.on("UploadArtifact", artifact_service_pb2.UploadArtifactResponse(artifact=RECORD))

    where = ["--run", RUN_ID, "--step", "outline", "-t", "acme"]
    assert run(["artifact", "put", "notes.json", *where]) == 0
    assert api.called("CreateUpload")[0].request.draft.name == "artifacts/notes.json"
    assert DIGEST in capsys.readouterr().out


@pytest.mark.usefixtures("here")
def test_put_writes_where_people_may_write(api: Api, here: Path) -> None:
    (here / "notes.json").write_bytes(b"{}")
    api.on("CreateUpload", announced)
    api.on("UploadArtifact", artifact_service_pb2.UploadArtifactResponse(artifact=RECORD))

    assert run(["artifact", "put", "notes.json", "--run", RUN_ID, "-t", "acme"]) == 0
    assert api.called("CreateUpload")[0].request.draft.step == "input"
