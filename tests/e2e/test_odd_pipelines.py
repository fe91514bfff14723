"""Pipelines that nobody draws on a board: each ends in what its steps say, to the last file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from tests.e2e.test_maps import over
from tests.e2e.test_skipped_steps import collect, constant, function
from tests.support.public_api import create_pipeline, create_run, create_tenant, finish

from nagaya.runs.v1 import run_pb2

if TYPE_CHECKING:
    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

NEVER, ALWAYS = "first.x > 5", "first.x < 5"
FIRST = constant("first", {"x": 1}, metrics={"x": "/x"})


@dataclass(frozen=True)
class Case:
    """Steps, the input of their run, and the outputs that it leaves."""

    steps: list[dict[str, object]]
    input: object = 0
    outputs: dict[str, object] = field(default_factory=dict[str, object])


def element(step: str, over: object, *needs: str, **more: object) -> dict[str, object]:
    return function(step, "element", *needs, map=over, **more)


def nested(levels: int) -> object:
    value: object = "core"
    for _ in range(levels):
        value = [value]
    return value


ODD: dict[str, Case] = {
    "both branches skipped, and joined": Case(
        [
            FIRST,
            constant("left", 1, "first", when=NEVER),
            constant("right", 2, "first", when=NEVER),
            collect("join", "left", "right"),
            constant("last", 3, "join", "left", when="!skipped(join) && skipped(left)"),
        ],
        outputs={"join": {}, "last": 3},
    ),
    "maps over a map of nothing": Case(
        [
            element("a", over("input")),
            element("b", over("a"), "a"),
            element("c", over("b"), "b"),
            collect("all", "a", "b", "c"),
        ],
        [],
        {"all": {"a": [], "b": [], "c": []}},
    ),
    "elements that are lists, walked one for one": Case(
        [
            element("a", over("input")),
            element("b", over("a"), "a"),
            element("c", over("b"), "b"),
            collect("all", "c"),
        ],
        [[[1, 2], []], [], [[3]]],
        {"all": {"c": [[[1, 2], []], [], [[3]]]}},
    ),
    "names with slashes, tildes and nothing": Case(
        [
            element("a", {"step": "input", "json_pointer": "/x~1y/~0~1//0"}),
            collect("all", "a"),
        ],
        {"x/y": {"~/": {"": {"0": ["deep"]}}}},
        {"all": {"a": ["deep"]}},
    ),
    "characters that databases do not like": Case(
        [element("a", over("input")), collect("all", "a")],
        ["a\x7fb", "\u2028", "\U0001f600", "\ufeff", "e\u0301"],
        {"all": {"a": ["a\x7fb", "\u2028", "\U0001f600", "\ufeff", "e\u0301"]}},
    ),
    "elements that are all alike": Case(
        [element("a", over("input")), collect("all", "a"), element("b", over("a"), "a"),
         collect("again", "b")],
        [{"k": 1}, {"k": 1}, {"k": 1}],
        {"all": {"a": [{"k": 1}] * 3}, "again": {"b": [{"k": 1}] * 3}},
    ),
    "steps named like words of conditions": Case(
        [
            constant("size", {"x": 1}, metrics={"in": "/x"}),
            constant("has", {"x": 2}, "size", metrics={"x": "/x"}, when="size['in'] == 1"),
            constant("last", "said", "has", when="has(has.x) && has.x == 2"),
        ],
        outputs={"last": "said"},
    ),
    "a map of which each element is skipped": Case(
        [
            function("pick", "element", map=over("input"), values={"wanted": "/wanted"}),
            element("a", {**over("input"), "when": "pick.wanted"}, "pick"),
            collect("all", "a"),
            constant("last", 1, "a", when="a.items == 0"),
        ],
        [{"wanted": False}, {"wanted": False}],
        {"all": {"a": []}},
    ),
    "a collection that is mapped over again": Case(
        [
            element("a", over("input")),
            collect("one", "a"),
            element("b", {"step": "one", "json_pointer": "/a"}, "one"),
            collect("two", "one", "b"),
            element("c", {"step": "two", "json_pointer": "/one/a"}, "two"),
            collect("three", "c"),
        ],
        [3, 1, 2],
        {"two": {"one": {"a": [3, 1, 2]}, "b": [3, 1, 2]}, "three": {"c": [3, 1, 2]}},
    ),
    "elements of many levels": Case(
        [element("a", over("input")), collect("all", "a")],
        [nested(25), nested(2)],
        {"all": {"a": [nested(25), nested(2)]}},
    ),
    "one step that waits for all and one that waits for none": Case(
        [
            *(constant(f"s{number}", number) for number in range(40)),
            collect("all", *(f"s{number}" for number in range(40))),
            constant("alone", "here"),
        ],
        outputs={"all": {f"s{number}": number for number in range(40)}, "alone": "here"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
async def test_an_odd_pipeline_leaves_what_its_steps_say(
    stack: LocalStack, client: Client, name: str
) -> None:
    case = ODD[name]
    tenant_id = await create_tenant(client, "odd")
    await create_pipeline(client, tenant_id, "odd", {"steps": case.steps})
    run_id = await create_run(client, tenant_id, "odd", case.input)
    run = await finish(client, tenant_id, run_id)

    assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error
    for step, output in case.outputs.items():
        file = stack.file(f"storage/{tenant_id}/{run_id}/{step}/output.json")
        assert json.loads(file.read_bytes()) == output
