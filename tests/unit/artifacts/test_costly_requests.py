"""What the costliest requests take of the loop, in CPU time, from their bytes to the first wait."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import struct_pb2

from artifacts import wire
from artifacts.app.body_verifier import ON_LOOP_BYTES
from artifacts.domain.facts import count_facts
from artifacts.domain.files import BatchItem
from artifacts.domain.keys import BucketLayout
from artifacts.domain.values import extract_values
from interceptor import fields
from nagaya.artifacts.v1 import artifact_pb2, upload_service_pb2
from nagaya.artifacts.v1 import artifact_service_pb2 as pb
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    Case = tuple[Message, Callable[[Any], object]]

SECONDS = 0.25
RUN = "0192f5a0-0000-7000-8000-000000000001"
LAYOUT = BucketLayout("storage")
DEEP = "artifacts/" + "/".join(["a" * 72] * 6)
PATH = f"storage/acme/{RUN}/draft/{DEEP}"


def draft(number: int, metadata: int = 0) -> artifact_pb2.ArtifactDraft:
    made = artifact_pb2.ArtifactDraft(run_id=RUN, step="draft", name=f"{DEEP}/{number}")
    made.metrics.update({f"m{n}": n for n in range(14)})
    made.fractional_metrics.update({f"f{n}": n / 7 for n in range(14)})
    if metadata:
        nothing = struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
        made.metadata["n"] = None
        made.metadata.fields["n"].list_value.values.extend([nothing] * metadata)
    return made


def putting(count: int, body: bytes, metadata: int = 0, file_type: str = "") -> Case:
    request = pb.BatchPutArtifactsRequest(tenant_id="acme")
    for number in range(count):
        item = request.items.add(draft=draft(number, metadata), data=body)
        item.draft.file_type = file_type

    def take(message: pb.BatchPutArtifactsRequest) -> None:
        found = [wire.item(LAYOUT, "acme", each) for each in message.items]
        items = [each for each in found if isinstance(each, BatchItem)]
        if sum(len(item.body) for item in items) <= ON_LOOP_BYTES:
            for item in items:
                count_facts(item.body, item.draft.file_type)

    return request, take


def getting(path: str, json_pointer: str) -> Case:
    named = artifact_pb2.ArtifactPointer(path=path, digest="0" * 64, json_pointer=json_pointer)
    request = pb.BatchGetArtifactsRequest(tenant_id="acme", pointers=[named] * 256)

    def take(message: pb.BatchGetArtifactsRequest) -> None:
        found = [wire.pointer_or_error(LAYOUT, "acme", each) for each in message.pointers]
        pb.BatchGetArtifactsResponse(
            results=[wire.get_result(each) for each in found if isinstance(each, DomainError)]
        )

    return request, take


def announcing(metadata: int) -> Case:
    request = upload_service_pb2.CreateUploadRequest(
        tenant_id="acme", draft=draft(1, metadata), size_bytes=1, digest="0" * 64
    )
    return request, lambda message: wire.draft(LAYOUT, "acme", message.draft)


def bytes_of(piece: bytes) -> bytes:
    """Return a JSON list that is as large as what is examined on the loop."""
    return b"[" + b",".join([piece] * (ON_LOOP_BYTES // (len(piece) + 1) - 1)) + b"]"


COSTLY: dict[str, Case] = {
    "small files": putting(256, b"[]"),
    "metadata": putting(256, b"[]", 1_000),
    "metadata that may be": putting(150, b"[]", 250),
    "lists": putting(1, bytes_of(b"[]")),
    "fractions": putting(1, bytes_of(b"0.1")),
    "headings": putting(1, b"# a\n" * (ON_LOOP_BYTES // 4), file_type="text/markdown"),
    "code blocks": putting(1, b"```\n~~~\n" * (ON_LOOP_BYTES // 8), file_type="text/markdown"),
    "many large files": putting(47, bytes_of(b"[]")),
    "pointers": getting(PATH, "/0" * 256),
    "escapes in pointers": getting(PATH, "/" + "~0" * 255),
    "paths of nobody's": getting("storage/" + "/" * 1_000, ""),
    "an upload": announcing(0),
    "an upload with metadata": announcing(250_000),
}


def seconds(request: Message, take: Callable[[Any], object]) -> float:
    raw = request.SerializeToString()
    began = time.process_time()
    message = type(request).FromString(raw)
    if not fields.find_excess(message, len(raw)) and not fields.find_violations(message, len(raw)):
        with suppress(DomainError):  # a refusal costs, too
            take(message)
    return time.process_time() - began


@pytest.mark.parametrize("name", COSTLY)
def test_no_request_takes_the_loop_for_long(name: str) -> None:
    request, take = COSTLY[name]

    assert min(seconds(request, take) for _ in range(4)) < SECONDS


@pytest.mark.parametrize("piece", [b"[]", b"{}", b"0.1", b'"\\u00e9"', b"1e400"])
@pytest.mark.parametrize("count", [1, 16, 256])
def test_no_values_of_a_small_file_take_the_loop_for_long(piece: bytes, count: int) -> None:
    size = ON_LOOP_BYTES // count  # what is read on the loop
    body = b"[" + b"[" + b",".join([piece] * (size // (len(piece) + 1) - 2)) + b"]]"

    def measure() -> float:
        began = time.process_time()
        extract_values(body, ["/0"] * count, 3 << 20)
        return time.process_time() - began

    assert min(measure() for _ in range(4)) < SECONDS
