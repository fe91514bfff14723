"""How many runs of a tenant are under way beside those of others."""

from __future__ import annotations

import random

import pytest

from runs.domain.run_shares import RunDemand, share
from runs.domain.tenant_limits import USUAL_RUNS, TenantLimits

MANY = 10_000


def demands(*others: tuple[int, float]) -> list[RunDemand]:
    """Return what other tenants want, in their order; each is a number of runs and a weight."""
    found = [RunDemand(f"tenant-{n}", runs, weight) for n, (runs, weight) in enumerate(others)]
    return sorted(found, key=lambda one: one.level)


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([], 100),
        ([(1, 1)], 99),
        ([(MANY, 1)], 50),
        ([(20, 1)] * 7, 12),
        ([(3, 1)] * 7, 79),
        ([(3, 1), (MANY, 1)], 48),
        ([(MANY, 3)], 25),
        ([(10, 3)], 90),
        ([(MANY, 1)] * 500, 1),
    ],
    ids=[
        "alone",
        "beside one run",
        "beside a long queue",
        "beside seven with more than their part",
        "beside seven with less",
        "beside one of each",
        "beside three times the weight",
        "beside weight that is not used",
        "beside more tenants than there is room",
    ],
)
def test_a_tenant_has_what_the_others_leave_it(
    others: list[tuple[int, float]], expected: int
) -> None:
    assert share(100, 1.0, demands(*others)) == expected


def test_what_is_divided_is_never_more_than_there_is_nor_left_unused() -> None:
    drawn = random.Random()  # noqa: S311 - cases, no secrets
    seed = drawn.randrange(2**32)
    drawn.seed(seed)
    for _ in range(200):
        room = drawn.randrange(50, 500)
        wanted = [(drawn.randrange(1, 200), drawn.choice((0.5, 1, 2, 5))) for _ in range(8)]
        got = 0
        for n, (runs, weight) in enumerate(wanted):
            others = demands(*(one for m, one in enumerate(wanted) if m != n))
            got += min(runs, share(room, weight, others))
        most = min(room, sum(runs for runs, _ in wanted))
        assert most - len(wanted) <= got <= most + len(wanted), (seed, room, wanted)


def test_a_tenants_own_runs_leave_its_part_as_it_is() -> None:
    both = demands((MANY, 1), (1, 1))
    limits = TenantLimits(tenant_id="tenant-0", demands={"": both})
    assert (limits.runs_at_once(""), limits.runs_at_once("own")) == (USUAL_RUNS - 1, USUAL_RUNS)
    assert TenantLimits(tenant_id="tenant-1", demands={"": both}).runs_at_once("") == 50


@pytest.mark.parametrize(
    ("most", "alone", "beside"), [(3, 3, 3), (60, 60, 50), (100, 100, 50), (400, 400, 200)]
)
def test_a_limit_that_was_set_bounds_the_part_or_is_divided(
    most: int, alone: int, beside: int
) -> None:
    assert TenantLimits(max_runs=most).runs_at_once("") == alone
    others = {"": demands((MANY, 1))}
    assert TenantLimits(max_runs=most, demands=others).runs_at_once("") == beside
