"""The stub's control endpoint, as tests use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.e2e.house import House


async def add_rule(house: House, marker: str, action: Mapping[str, object], times: int = 1) -> None:
    """Do something so often, to the next calls whose prompts hold the marker."""
    rule = {"name": marker, "match": {"contains": marker}, "times": times, "action": dict(action)}
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{house.endpoints.llmstub_url}/stub/script", json={"rules": [rule]}
        ) as answer,
    ):
        assert answer.status == 200, await answer.text()


async def wait_until_held(house: House, marker: str) -> None:
    """Wait until the stub holds the call that a rule of this marker has met."""
    query = {"outcome": "open", "rule": marker, "at_least": "1", "wait_ms": "20000"}
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{house.endpoints.llmstub_url}/stub/calls", params=query) as answer,
    ):
        assert (await answer.json())["count"] >= 1
