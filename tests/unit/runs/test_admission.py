from __future__ import annotations

from contextlib import ExitStack
from itertools import pairwise

import pytest

from runs.domain.tenant_limits import TenantLimits
from runs.worker.activities.admission import TenantShareTaken, WorkerSlots


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def fill(stack: ExitStack, slots: WorkerSlots, *tenants: str) -> dict[str, int]:
    """Let tenants take slots by turns until no one gets any more; return how many each got."""
    got = dict.fromkeys(tenants, 0)
    wanting = set(tenants)
    while wanting:
        for tenant in sorted(wanting):
            try:
                stack.enter_context(slots.hold(tenant))
            except TenantShareTaken:
                wanting.remove(tenant)
            else:
                got[tenant] += 1
    return got


def refusals(slots: WorkerSlots, tenant: str, count: int) -> list[float]:
    pauses: list[float] = []
    for _ in range(count):
        with pytest.raises(TenantShareTaken) as taken, slots.hold(tenant):
            pass
        pauses.append(taken.value.seconds)
    return pauses


@pytest.mark.parametrize(("count", "alone"), [(100, 75), (10, 7), (4, 3), (2, 1), (1, 1)])
def test_a_tenant_alone_gets_its_share_of_the_slots(count: int, alone: int) -> None:
    with ExitStack() as stack:
        assert fill(stack, WorkerSlots(count, 75), "a") == {"a": alone}


def test_tenants_that_want_all_they_can_get_leave_room_for_another() -> None:
    slots = WorkerSlots(100, 75)
    with ExitStack() as stack:
        assert fill(stack, slots, "a", "b", "c") == {"a": 30, "b": 30, "c": 30}
        assert fill(stack, slots, "d") == {"d": 7}


def test_a_tenant_that_holds_nothing_gets_a_slot_whatever_others_hold() -> None:
    slots = WorkerSlots(2, 75)
    with slots.hold("a"), slots.hold("b"):
        refusals(slots, "a", 1)
    with slots.hold("a"):
        refusals(slots, "a", 1)


def test_a_slot_that_is_free_again_can_be_taken_at_once() -> None:
    slots = WorkerSlots(2, 75)
    for _ in range(3):
        with slots.hold("a"):
            refusals(slots, "a", 1)


def test_a_long_line_comes_again_one_after_another_and_soon() -> None:
    clock = Clock()
    slots = WorkerSlots(4, 75, clock)
    with ExitStack() as stack:
        fill(stack, slots, "a")
        clock.now += 60
        pauses = refusals(slots, "a", 1_000)
    gaps = [after - before for before, after in pairwise(pauses)]
    assert pauses[0] == 0.5
    assert gaps[:50] == pytest.approx([0.5] * 50)
    assert pauses[-1] == 30


def test_those_in_line_come_twice_as_often_as_slots_become_free() -> None:
    clock = Clock()
    slots = WorkerSlots(4, 75, clock)
    with ExitStack() as stack:
        stack.enter_context(slots.hold("a"))
        for _ in range(100):
            with slots.hold("a"):
                clock.now += 0.1
        fill(stack, slots, "a")
        pauses = refusals(slots, "a", 11)
    assert pauses[10] - pauses[0] == pytest.approx(10 * 0.05, rel=0.1)


def test_slots_are_held_in_proportion_to_weights() -> None:
    weights = {"light": 1.0, "heavy": 3.0}
    slots = WorkerSlots(1_000, 75, limits=lambda tenant: TenantLimits(weights[tenant]))
    held: dict[str, list[ExitStack]] = {"light": [], "heavy": []}
    for _ in range(5_000):  # steps end and begin: who holds too many begins none
        for tenant, stacks in held.items():
            if slots.exceeds_share(tenant):
                stacks.pop().close()
            if slots.has_room(tenant):
                stacks.append(ExitStack())
                stacks[-1].enter_context(slots.hold(tenant))

    light, heavy = map(len, held.values())
    for stacks in held.values():
        for stack in stacks:
            stack.close()
    assert 2.9 <= heavy / light <= 3.1
    assert light + heavy < 1_000


def test_a_tenant_holds_no_more_slots_than_it_may() -> None:
    slots = WorkerSlots(100, 75, limits=lambda _: TenantLimits(max_steps=3))
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(slots.hold("acme"))
        assert not slots.has_room("acme")
        assert slots.has_room("bolt")
