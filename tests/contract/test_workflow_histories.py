"""Today's workflows replay what the release before has left in Temporal.

`make histories` records it anew, for a release: a change that turns this red would leave running
pipelines unable to go on. Change the workflow so that both can be replayed (`RunStart.version`).
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.workflow import NondeterminismError
from tests.integration.runs.recording_worker import replay

from runs.auditor import examine

FILES = sorted((Path(__file__).parent / "histories").glob("*.json"))
KINDS_SINCE_4 = {
    *("article", "cancelled", "elements", "failed", "handed-over", "killed-worker", "long-map"),
    *("short-steps", "skipped"),
}
KINDS = {
    "article",
    "cancelled",
    "divided-map",
    "divided-map-part",
    "failed",
    "killed-worker",
    "long-map",
    "long-map-part",
    "short-steps",
    "short-steps-begun-apart",
    "skipped",
    "very-long-map",
    *(f"{kind}-v3" for kind in ("article", "cancelled", "failed", "killed-worker")),
    *(f"{kind}-v3" for kind in ("short-steps", "skipped")),
    *(f"{kind}-v4" for kind in ("article", "cancelled", "failed", "killed-worker", "long-map")),
    *(f"{kind}-v4" for kind in ("short-steps", "skipped")),
    *("elements", "handed-over"),
    *(f"{kind}-v{version}" for kind in KINDS_SINCE_4 for version in (5, 6)),
    *("graph", "graph-cancelled", "graph-failed-v6", "graph-failed-v7"),
    *("loop", "approval", "approval-timeout", "approval-cancelled"),
    *("paused-v6", "retried-v6", "scheduled", "scheduled-cancelled"),
}
PRIVATE = re.compile(r"/(?:home|root|tmp|Users|var|work)/|\d@|Bearer|eyJhbGci")

every = pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])


def read(file: Path) -> WorkflowHistory:
    content = json.loads(file.read_text())
    started = content["events"][0]["workflowExecutionStartedEventAttributes"]
    return WorkflowHistory.from_json(started["workflowId"], content)


def test_every_kind_of_run_is_recorded() -> None:
    assert {file.stem for file in FILES} == KINDS


@every
async def test_a_recorded_history_can_be_replayed(file: Path) -> None:
    await replay(read(file))


async def test_a_history_of_another_order_is_refused() -> None:
    content = json.loads((FILES[0].parent / "short-steps.json").read_text())
    (given,) = content["events"][0]["workflowExecutionStartedEventAttributes"]["input"]["payloads"]
    start = json.loads(base64.b64decode(given["data"]))
    first, second = start["plan"][:2]
    first[0], second[0] = second[0], first[0]
    given["data"] = base64.b64encode(json.dumps(start).encode()).decode()

    with pytest.raises(NondeterminismError):
        await replay(WorkflowHistory.from_json("acme/another", content))


@every
def test_a_recorded_history_holds_no_body_and_names_no_machine(file: Path) -> None:
    text = file.read_text()
    payloads = [base64.b64decode(data).decode() for data in re.findall(r'"data": "([^"]*)"', text)]

    assert list(examine(read(file))) == []
    assert set(re.findall(r'"identity": "([^"]*)"', text)) == {"recorded"}
    assert not [found for each in (text, *payloads) for found in PRIVATE.findall(each)]
