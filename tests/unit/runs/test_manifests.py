"""Manifests of maps of the longest lists are committed, with less of each element if need be."""

from __future__ import annotations

import json

import pytest

from runs.domain.activities import StepRef
from runs.domain.lists import MAP_LIMIT
from runs.domain.outputs import BYTES_AT_ONCE, FileDraft
from runs.domain.runs import OutputFile
from runs.peers.artifacts import Artifacts
from runs.store.steps import Elements
from runs.worker.activities.mapped_lists import put_manifest
from servicekit.channel import open_channel


class KeptFiles(Artifacts):
    """Keeps what is committed."""

    def __init__(self) -> None:
        super().__init__(open_channel("127.0.0.1:1", None))
        self.kept: list[bytes] = []

    async def put(self, tenant_id: str, draft: FileDraft, data: bytes) -> OutputFile:
        self.kept.append(data)
        return OutputFile(draft.name, "0" * 64, draft.summary, {})


@pytest.mark.parametrize(
    ("summary", "values", "metrics", "left"),
    [
        (10, 10, 10, {"summary", "values", "metrics"}),
        (256, 10, 10, {"values", "metrics"}),
        (256, 256, 10, {"metrics"}),
        (256, 256, 300, set[str]()),
    ],
)
async def test_a_manifest_tells_less_of_its_elements_before_it_is_too_large(
    summary: int, values: int, metrics: int, left: set[str]
) -> None:
    files = KeptFiles()
    output = OutputFile(
        "p" * 250, "0" * 64, "s" * summary, {"m" * metrics: 1}, values={"said": "v" * values}
    )
    outputs = dict.fromkeys(range(1, MAP_LIMIT + 1), output)
    await put_manifest(files, StepRef("acme", "r", 1, "copy"), Elements(outputs, {}, []))

    (data,) = files.kept
    items = json.loads(data)["items"]
    assert [each["item"] for each in items] == [*range(1, MAP_LIMIT + 1)]
    assert {frozenset(each) for each in items} == {frozenset({"item", "path", "digest"} | left)}
    assert len(data) <= BYTES_AT_ONCE
