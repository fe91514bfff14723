"""Long maps of which a provider refuses some elements: what was paid for is kept.

TEST_INVOICES says how many there are.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import secrets
from typing import TYPE_CHECKING, Any

from tests.support.public_api import (
    create_pipeline,
    create_prompt,
    create_run,
    create_tenant,
    finish,
)

from nagaya.runs.v1 import run_pb2, run_service_pb2

if TYPE_CHECKING:
    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

INVOICES = int(os.environ.get("TEST_INVOICES", "40"))
REFUSED = 3


def pipeline(**over: object) -> dict[str, Any]:
    """Return the steps of a pipeline that reads invoices, checks each and reports."""
    model = {"model": {"modelId": "claude-sonnet-5-5"}, "maxOutputTokens": 50}
    each = {"step": "input", "json_pointer": "/invoices"}
    text, read = {"variable": "text", "element": {}}, {"variable": "read"}
    extract = {**model, "bindings": [text]}
    check = {**model, "bindings": [{**read, "elementOutput": {"step": "extract"}}]}
    failed = {"variable": "failed", "manifest": {"step": "extract", "jsonPointer": "/failed"}}
    report = {**model, "bindings": [{**read, "output": {"step": "check"}}, failed]}
    return {
        "steps": [
            {"step": "extract", "map": {**each, **over}, "llm": extract},
            {"step": "check", "needs": ["extract"], "map": each, "llm": check},
            {"step": "report", "needs": ["extract", "check"], "llm": report},
        ]
    }


async def start(
    stack: LocalStack, client: Client, **over: object
) -> tuple[str, run_pb2.Run, list[int]]:
    """Run the pipeline to its end; return the tenant, the run and which elements were refused."""
    tenant_id = await create_tenant(client, "invoices")
    await create_prompt(client, tenant_id, "extract", "Extract: {{text}}")
    await create_prompt(client, tenant_id, "check", "Check: {{read}}")
    await create_prompt(client, tenant_id, "report", "Report: {{read}} but not {{failed}}")
    await create_pipeline(client, tenant_id, "invoices", pipeline(**over))
    refused = sorted(random.sample(range(1, INVOICES + 1), REFUSED))
    texts = [f"invoice {number} {secrets.token_hex(4)}" for number in range(1, INVOICES + 1)]
    for item in refused:
        texts[item - 1] = mark = f"illegible-{secrets.token_hex(8)}"
        stack.stub.script(mark, {"kind": "status", "status": 400}, times=1)
    run_id = await create_run(client, tenant_id, "invoices", {"invoices": texts})
    return tenant_id, await finish(client, tenant_id, run_id), refused


async def test_elements_that_may_fail_are_named_and_the_others_are_done(
    stack: LocalStack, client: Client
) -> None:
    tenant_id, run, refused = await start(stack, client, allow_failed=REFUSED)

    assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error
    folder = f"storage/{tenant_id}/{run.run_id}"
    manifest = json.loads(stack.file(f"{folder}/extract/output.json").read_text())
    good = [item for item in range(1, INVOICES + 1) if item not in refused]
    assert [(one["item"], one["reason"]) for one in manifest["failed"]] == [
        (item, "PROVIDER_REFUSED") for item in refused
    ]
    assert [one["item"] for one in manifest["items"]] == good
    checked = json.loads(stack.file(f"{folder}/check/output.json").read_text())
    assert ([one["item"] for one in checked["items"]], checked["failed"]) == (good, [])
    assert stack.requests_of(run.run_id) == INVOICES + len(good) + 1
    database = await stack.database(client, tenant_id)
    paid = "SELECT sum(cost_micro_usd)::bigint FROM steps"
    assert await database.fetchval(paid) == run.totals.cost_micro_usd > 0
    await database.close()


async def test_a_map_of_which_none_may_fail_is_done_to_its_end_and_a_retry_does_what_failed(
    stack: LocalStack, client: Client
) -> None:
    tenant_id, run, refused = await start(stack, client)

    assert run.state == run_pb2.RUN_STATE_FAILED
    assert (run.error.step, run.error.reason) == ("extract", "PROVIDER_REFUSED")
    assert run.error.message.startswith(
        f"{REFUSED} of {INVOICES} elements failed, 0 may; element {refused[0]}: "
    )
    assert f"; element {refused[1]}: " in run.error.message
    folder = stack.file(f"storage/{tenant_id}/{run.run_id}")
    assert not (folder / "extract" / "output.json").exists()
    good = [(step, n) for step in ("extract", "check") for n in range(1, INVOICES + 1)]
    good = [(step, item) for step, item in good if item not in refused]
    kept = await outputs(stack, client, tenant_id)
    assert sorted(kept) == sorted(good)  # check follows each element at once
    asked = stack.requests_of(run.run_id)
    assert asked == INVOICES + INVOICES - REFUSED

    await client.runs.RetryRun(
        run_service_pb2.RetryRunRequest(
            tenant_id=tenant_id, run_id=run.run_id, request_id=secrets.token_hex(8)
        )
    )
    events = [e async for e in client.watch_run(tenant_id, run.run_id, after=run.last_sequence)]
    again = events[-1].run

    assert again.state == run_pb2.RUN_STATE_COMPLETED, again.error
    assert stack.requests_of(run.run_id) == asked + 2 * REFUSED + 1  # and the report
    done = await outputs(stack, client, tenant_id)
    assert len(done) == 2 * INVOICES
    assert {place: done[place] for place in kept} == kept
    manifest = json.loads((folder / "extract" / "output.json").read_text())
    assert [one["item"] for one in manifest["items"]] == [*range(1, INVOICES + 1)]
    assert manifest["failed"] == []
    for (step, item), digest in done.items():
        file = folder / step / "artifacts" / f"{item}-1" / "output.json"
        assert hashlib.sha256(file.read_bytes()).hexdigest() == digest


async def outputs(stack: LocalStack, client: Client, tenant_id: str) -> dict[tuple[str, int], str]:
    """Return the digests of the outputs of a tenant's elements that are done."""
    database = await stack.database(client, tenant_id)
    rows = await database.fetch(
        "SELECT step, item, output_digest FROM steps WHERE item > 0 AND status = 'completed'"
    )
    await database.close()
    return {(row["step"], row["item"]): row["output_digest"] for row in rows}
