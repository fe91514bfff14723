"""Maps over lists within the outputs of maps, and what their elements know of each other."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.test_maps import function, over
from tests.support.public_api import (
    create_pipeline,
    create_run,
    create_tenant,
    finish,
    list_steps,
)

from nagaya.runs.v1 import run_pb2

if TYPE_CHECKING:
    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

LISTS = {"step": "chapter", "json_pointer": "/numbers"}


def chapters(**more: object) -> dict[str, object]:
    return {"step": "input", "json_pointer": "/chapters", **more}


def total(step: str, of: str, *needs: str, **more: object) -> dict[str, Any]:
    """Return a step that adds up what belongs to its element."""
    made = function(step, "test.total", of, *needs, **more)
    made["function"] = {
        "function": "test.total",
        "arguments": {"of": of},
        "element_outputs": [of],
    }
    return made


@pytest.mark.parametrize("short", [True, False], ids=["short", "long"])
async def test_elements_of_inner_lists_know_their_outer_element_and_it_knows_them(
    stack: LocalStack, client: Client, *, short: bool
) -> None:
    tenant_id = await create_tenant(client, "nested")
    chapter = function("chapter", "element", map=chapters())
    double = function("double", "test.double", "chapter", map=LISTS)
    double["function"] = {"function": "test.double", "short": short}
    spec = {
        "steps": [
            chapter,
            double,
            function("again", "test.double", "double", map=over("double")),
            total("sum", "again", "chapter", map=chapters()),
            total("outer", "sum", "chapter", map=LISTS),
            function("all", "collect", "double", "again", "sum", "outer"),
        ]
    }
    await create_pipeline(client, tenant_id, "nested", spec)
    given = {"chapters": [{"numbers": n} for n in ([1, 2, 3], [], [4], [5, 6])]}
    run_id = await create_run(client, tenant_id, "nested", given)
    run = await finish(client, tenant_id, run_id)

    assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error
    collected = stack.file(f"storage/{tenant_id}/{run_id}/all/output.json").read_bytes()
    assert json.loads(collected) == {
        "double": [2, 4, 6, 8, 10, 12],
        "again": [4, 8, 12, 16, 20, 24],
        "sum": [24, 0, 16, 44],
        "outer": [24, 24, 24, 16, 44, 44],
    }
    rows = await list_steps(client, tenant_id, run_id)
    assert sorted(row.item for row in rows if row.step == "double") == list(range(7))


async def test_what_an_outer_element_that_was_skipped_would_hold_is_not_there(
    stack: LocalStack, client: Client
) -> None:
    tenant_id = await create_tenant(client, "nested")
    picked = function("picked", "element", map=chapters())
    picked["values"] = {"wanted": "/wanted"}
    chapter = function("chapter", "element", "picked", map=chapters(when="picked.wanted"))
    spec = {
        "steps": [
            picked,
            chapter,
            function("double", "test.double", "chapter", map=LISTS),
            total("sum", "double", "chapter", map=chapters()),
            function("all", "collect", "double", "sum"),
        ]
    }
    await create_pipeline(client, tenant_id, "nested", spec)
    lists = [("a", True, [1]), ("b", False, [2, 3]), ("c", True, [4, 5])]
    given = {"chapters": [{"wanted": wanted, "numbers": n} for _, wanted, n in lists]}
    run_id = await create_run(client, tenant_id, "nested", given)
    run = await finish(client, tenant_id, run_id)

    assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error
    collected = stack.file(f"storage/{tenant_id}/{run_id}/all/output.json").read_bytes()
    assert json.loads(collected) == {"double": [2, 8, 10], "sum": [2, 0, 18]}
    skipped = {
        (row.step, row.item)
        for row in await list_steps(client, tenant_id, run_id)
        if row.state == run_pb2.STEP_STATE_SKIPPED
    }
    assert skipped == {("chapter", 2)}


async def test_an_output_without_a_list_is_named_by_its_element(client: Client) -> None:
    tenant_id = await create_tenant(client, "nested")
    double = function("double", "test.double", "chapter", map=LISTS)
    spec = {"steps": [function("chapter", "element", map=chapters()), double]}
    await create_pipeline(client, tenant_id, "nested", spec)
    given = {"chapters": [{"numbers": [1]}, {"numbers": 2}]}
    run = await finish(client, tenant_id, await create_run(client, tenant_id, "nested", given))

    assert (run.state, run.error.reason) == (run_pb2.RUN_STATE_FAILED, "MAP_NOT_A_LIST")
    assert run.error.message == "in the output for element 2 there is no list at '/numbers'"

    given = {"chapters": [{"numbers": [1]}, {"numbers": [2]}, {}]}
    run = await finish(client, tenant_id, await create_run(client, tenant_id, "nested", given))

    assert (run.state, run.error.reason) == (run_pb2.RUN_STATE_FAILED, "POINTER_INVALID")
    assert run.error.message.startswith("in the output for element 3: the JSON pointer '/numbers'")
