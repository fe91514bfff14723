"""What becomes of the steps behind one that was skipped: they go on without it, unless they ask for
what it would have put out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from tests.support.public_api import (
    create_pipeline,
    create_prompt,
    create_run,
    create_tenant,
    list_steps,
)

from nagaya.runs.v1 import run_pb2

if TYPE_CHECKING:
    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

DONE, SKIPPED = run_pb2.STEP_STATE_COMPLETED, run_pb2.STEP_STATE_SKIPPED
FAILED = run_pb2.STEP_STATE_FAILED
NEVER = "first.x > 5"


def function(step: str, name: str, *needs: str, **more: object) -> dict[str, object]:
    kind = {"function": name, "arguments": more.pop("arguments", {}), "short": True}
    return {"step": step, "needs": list(needs), "function": kind, **more}


def constant(step: str, value: object, *needs: str, **more: object) -> dict[str, object]:
    return function(step, "constant", *needs, arguments={"value": value}, **more)


def collect(step: str, *needs: str, **more: object) -> dict[str, object]:
    return function(step, "collect", *needs, **more)


def ask(*needs: str, **more: object) -> dict[str, object]:
    bind = {"variable": "what", "output": {"step": "gone"}}
    llm = {"bindings": [bind], "model": {"modelId": "claude-sonnet-5-5"}}
    return {"step": "ask", "needs": list(needs), "llm": llm, **more}


def each(**more: object) -> dict[str, object]:
    return constant("each", 1, "gone", "first", map={"step": "gone", "json_pointer": "/v"}, **more)


BEFORE = [
    constant("first", {"x": 1}, metrics={"x": "/x"}),
    constant("gone", {"v": [1, 2]}, "first", when=NEVER),
]


@dataclass(frozen=True)
class Case:
    """The steps behind the skipped one, and how each ends; `reason` is that of the failed one."""

    steps: list[dict[str, object]]
    states: dict[str, int] = field(default_factory=dict[str, int])
    reason: str = ""
    outputs: dict[str, object] = field(default_factory=dict[str, object])


CASES = {
    "nothing": Case([]),
    "what only needs it": Case([constant("last", 2, "gone")], {"last": DONE}, outputs={"last": 2}),
    "what binds its output": Case([ask("gone")], {"ask": FAILED}, "OUTPUT_MISSING"),
    "what binds its output, skipped too": Case(
        [ask("gone", "first", when=NEVER)], {"ask": SKIPPED}
    ),
    "what needs one that was skipped behind it": Case(
        [ask("gone", "first", when=NEVER), constant("last", 2, "ask")],
        {"ask": SKIPPED, "last": DONE},
    ),
    "a map over its output": Case([each()], {"each": FAILED}, "OUTPUT_MISSING"),
    "a map over its output, skipped too": Case([each(when=NEVER)], {"each": SKIPPED}),
    "a collection of that map": Case(
        [each(when=NEVER), collect("all", "each")],
        {"each": SKIPPED, "all": DONE},
        outputs={"all": {}},
    ),
    "a collection of it alone": Case([collect("all", "gone")], {"all": DONE}, outputs={"all": {}}),
    "a collection of it and another": Case(
        [collect("all", "gone", "first")],
        {"all": DONE},
        outputs={"all": {"first": {"x": 1}}},
    ),
    "a condition on its metric": Case(
        [constant("last", 2, "gone", when="gone.bytes > 0")], {"last": FAILED}, "CONDITION_FAILED"
    ),
    "a condition that need not look at its metric": Case(
        [constant("last", 2, "gone", "first", when=f"{NEVER} && gone.bytes > 0")],
        {"last": SKIPPED},
    ),
    "a condition that asks whether it has one": Case(
        [constant("last", 2, "gone", when="has(gone.bytes)")], {"last": SKIPPED}
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_what_follows_a_skipped_step_goes_on_unless_it_asks_for_its_output(
    stack: LocalStack, client: Client, name: str
) -> None:
    case = CASES[name]
    tenant_id = await create_tenant(client, "skipped")
    await create_prompt(client, tenant_id, "ask", "Say {{what}}.")
    await create_pipeline(client, tenant_id, "p", {"steps": [*BEFORE, *case.steps]})
    run_id = await create_run(client, tenant_id, "p", 0)
    events = [event async for event in client.watch_run(tenant_id, run_id)]

    steps = {step.step: step for step in await list_steps(client, tenant_id, run_id)}
    states = {"first": DONE, "gone": SKIPPED, **case.states}
    assert {step.step: step.state for step in steps.values()} == states
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    run = events[-1].run
    ends = {False: run_pb2.RUN_STATE_COMPLETED, True: run_pb2.RUN_STATE_FAILED}
    assert (run.state, run.error.reason) == (ends[bool(case.reason)], case.reason)
    assert run.totals.completed_steps == sum(state != FAILED for state in states.values())
    assert not steps["gone"].output.output_path
    for step, output in case.outputs.items():
        file = stack.file(f"storage/{tenant_id}/{run_id}/{step}/output.json")
        assert json.loads(file.read_bytes()) == output
