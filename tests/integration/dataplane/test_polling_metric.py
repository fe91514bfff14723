"""Prometheus is told that nobody polls where nobody does, not while a poller need not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from prometheus_client import REGISTRY
from tests.integration.dataplane.registry import until

if TYPE_CHECKING:
    from tests.integration.dataplane.work_tables import Tables

METRIC = "nagaya_pending_work_polled_timestamp_seconds"


async def nothing_left(_: str) -> None:
    return None


def polled_at(tables: Tables) -> float:
    labels = {"table": tables.table.name, "kind": tables.table.kind or ""}
    return REGISTRY.get_sample_value(METRIC, labels) or 0.0


async def until_later(tables: Tables, than: float) -> float:
    async def later() -> bool:
        return polled_at(tables) > than

    await until(later, wanted=True)
    return polled_at(tables)


@pytest.mark.parametrize("lease_seconds", [60.0, 0.0])
async def test_a_poller_whose_places_are_taken_counts_as_polling_until_their_leases_end(
    tables: Tables, lease_seconds: float
) -> None:
    begun = asyncio.Event()

    async def never_ends(_: str) -> None:
        begun.set()
        await asyncio.Event().wait()

    await tables.scheduler.schedule("acme")
    await tables.make_due(noted_seconds_ago=200)
    poller = tables.poller(never_ends, at_once=1, lease_seconds=lease_seconds)
    poller.start()
    try:
        async with asyncio.timeout(60):
            await begun.wait()
        looked = polled_at(tables)
        if lease_seconds:
            await until_later(tables, looked)
        else:
            await asyncio.sleep(0.1)
            assert polled_at(tables) == looked
    finally:
        await poller.stop()


async def test_a_poller_that_looks_seldom_counts_as_polling_in_between(tables: Tables) -> None:
    poller = tables.poller(nothing_left, interval_seconds=3600.0)
    before = polled_at(tables)  # another test's
    poller.start()
    try:
        looked = await until_later(tables, before)
        await until_later(tables, looked)
    finally:
        await poller.stop()
