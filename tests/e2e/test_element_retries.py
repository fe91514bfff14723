"""Retries of one element where elements are done together: in chunks, inner lists and loops."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.test_approvals import APPROVE, CONTINUE, REJECT, ask, decide
from tests.e2e.test_loops import repeat
from tests.e2e.test_maps import function
from tests.e2e.test_nested_maps import LISTS, chapters, total
from tests.e2e.test_steering import COMPLETED, FAILED, retry
from tests.support.public_api import create_pipeline, create_run, create_tenant, finish
from tests.support.waiting import wait_until

from nagaya.runs.v1 import approval_pb2, approval_service_pb2
from nagaya_client.errors import ApiError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stack import LocalStack

    from nagaya_client.client import Client

pytestmark = pytest.mark.parametrize("short", [True, False], ids=["short", "long"])


@dataclass(frozen=True)
class Doubling:
    """A function that doubles elements, some of which it refuses for now."""

    folder: Path
    short: bool

    def refuse(self, *values: int) -> None:
        (self.folder / "refused").write_text(json.dumps(values))

    def step(self, step: str, *needs: str, **more: object) -> dict[str, Any]:
        files = {name: str(self.folder / name) for name in ("log", "refused")}
        made = function(step, "test.picky", *needs, arguments=files, **more)
        made["function"]["short"] = self.short
        return made

    def done(self) -> Counter[int]:
        """Return how often each element was tried."""
        return Counter(map(int, (self.folder / "log").read_text().split()))


@pytest.fixture
def doubling(tmp_path: Path, *, short: bool) -> Doubling:
    return Doubling(tmp_path, short)


async def test_an_element_among_many_is_retried_alone(
    stack: LocalStack, client: Client, doubling: Doubling
) -> None:
    tenant_id = await create_tenant(client, "elements")
    each = doubling.step("each", map={"step": "input"})
    spec = {"steps": [each, function("all", "collect", "each")]}
    await create_pipeline(client, tenant_id, "elements", spec)
    doubling.refuse(7, 50)
    run_id = await create_run(client, tenant_id, "elements", [*range(100)])
    assert (await finish(client, tenant_id, run_id)).state == FAILED

    doubling.refuse(50)
    await retry(client, tenant_id, run_id, step="each", item=8)
    again = await finish(client, tenant_id, run_id)
    assert again.error.message.startswith("1 of 100 elements failed, 0 may; element 51: ")
    assert doubling.done() == Counter(range(1, 101)) + Counter([8])
    doubling.refuse()
    await retry(client, tenant_id, run_id, step="each", item=51)
    assert (await finish(client, tenant_id, run_id)).state == COMPLETED
    assert doubling.done() == Counter(range(1, 101)) + Counter([8, 51])
    collected = stack.file(f"storage/{tenant_id}/{run_id}/all/output.json").read_text()
    assert json.loads(collected) == {"each": [2 * number for number in range(100)]}


async def test_an_element_of_a_list_within_a_list_is_retried_alone(
    stack: LocalStack, client: Client, doubling: Doubling
) -> None:
    tenant_id = await create_tenant(client, "elements")
    spec = {
        "steps": [
            function("chapter", "element", map=chapters()),
            doubling.step("double", "chapter", map=LISTS),
            total("sum", "double", "chapter", map=chapters()),
            function("all", "collect", "double", "sum"),
        ]
    }
    await create_pipeline(client, tenant_id, "elements", spec)
    doubling.refuse(3, 7)
    given = {"chapters": [{"numbers": n} for n in ([1, 2, 3], [], [4, 5], [6, 7, 8])]}
    run_id = await create_run(client, tenant_id, "elements", given)
    assert (await finish(client, tenant_id, run_id)).state == FAILED

    doubling.refuse(3)
    await retry(client, tenant_id, run_id, step="double", item=7)
    assert (await finish(client, tenant_id, run_id)).state == FAILED
    with pytest.raises(ApiError) as refused:
        await retry(client, tenant_id, run_id, step="double", item=7)
    assert refused.value.reason == "ERROR_REASON_NOTHING_TO_RETRY"
    doubling.refuse()
    await retry(client, tenant_id, run_id, step="double", item=3)
    assert (await finish(client, tenant_id, run_id)).state == COMPLETED
    assert doubling.done() == Counter(range(1, 9)) + Counter([3, 7])
    collected = stack.file(f"storage/{tenant_id}/{run_id}/all/output.json").read_text()
    assert json.loads(collected)["sum"] == [12, 0, 18, 42]


async def test_an_element_of_a_loop_is_retried_in_its_visit_and_people_are_asked_once_more(
    stack: LocalStack, client: Client, doubling: Doubling
) -> None:
    tenant_id = await create_tenant(client, "elements")
    each = doubling.step("each", map={"step": "input"})
    good = ask("good", "each", approval={"on_reject": CONTINUE})
    good["repeat"] = repeat("each", "!good.approved", 3)
    spec = {"steps": [each, good, function("all", "collect", "each", "good")]}
    await create_pipeline(client, tenant_id, "elements", spec)
    doubling.refuse()
    run_id = await create_run(client, tenant_id, "elements", [1, 2, 3])
    question = await _asked(client, tenant_id, run_id, 1)
    doubling.refuse(2)
    await decide(client, tenant_id, question.approval_id, REJECT)
    assert (await finish(client, tenant_id, run_id)).state == FAILED

    doubling.refuse()
    await retry(client, tenant_id, run_id, step="each", item=2)
    question = await _asked(client, tenant_id, run_id, 2)
    await decide(client, tenant_id, question.approval_id, APPROVE)
    assert (await finish(client, tenant_id, run_id)).state == COMPLETED
    assert doubling.done() == Counter({1: 2, 2: 3, 3: 2})
    collected = stack.file(f"storage/{tenant_id}/{run_id}/all/output.json").read_text()
    assert json.loads(collected)["each"] == [2, 4, 6]


async def _asked(client: Client, tenant_id: str, run_id: str, visit: int) -> approval_pb2.Approval:
    """Return the open question of a visit, once it is asked."""
    request = approval_service_pb2.ListApprovalsRequest(
        tenant_id=tenant_id, run_id=run_id, state=approval_pb2.APPROVAL_STATE_OPEN
    )

    async def found() -> approval_pb2.Approval | None:
        listed = (await client.approvals.ListApprovals(request)).approvals
        return next((each for each in listed if each.visit == visit), None)

    return await wait_until(found, seconds=60)
