"""Pipelines as tests write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.json_format import ParseDict

from nagaya.runs.v1 import pipeline_pb2
from runs.domain.drafts import PipelineDraft
from runs.errors import PipelineInvalid
from runs.wire import pipelines as wire

if TYPE_CHECKING:
    from collections.abc import Sequence


def draft(*steps: dict[str, Any]) -> PipelineDraft:
    spec = wire.pipeline_spec(ParseDict({"steps": list(steps)}, pipeline_pb2.PipelineSpec()))
    return PipelineDraft.parse("article", spec, wire.document)


def faults(*steps: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(PipelineInvalid) as refusal:
        draft(*steps)
    return [(fault.field, fault.description) for fault in refusal.value.violations]


def function(step: str, *needs: str, **more: object) -> dict[str, Any]:
    return {"step": step, "needs": list(needs), "function": {"function": "copy"}, **more}


def llm(
    step: str,
    *needs: str,
    bindings: Sequence[dict[str, Any]] = (),
    llm: dict[str, Any] | None = None,
    **more: object,
) -> dict[str, Any]:
    asks = {"bindings": list(bindings), **(llm or {})}
    return {"step": step, "needs": list(needs), "llm": asks, **more}
