"""Which addresses belong to processes of the gateway, also while nobody can be asked."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from llm_gateway.app import processes
from llm_gateway.app.processes import GatewayProcesses
from servicekit.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class Management:
    """The management database: which addresses it holds, and whether it is there."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.endpoints = frozenset({"a:1"})
        self.away = False
        self.asked = 0

    def monotonic(self) -> float:
        return self.now

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Management]:
        self.asked += 1
        if self.away:
            raise Unavailable("the management database is away")
        yield self


@pytest.fixture
def management(monkeypatch: pytest.MonkeyPatch) -> Management:
    management = Management()

    async def endpoints(_: Any) -> frozenset[str]:  # noqa: ANN401 - it is not asked
        return management.endpoints

    monkeypatch.setattr(processes, "time", management)
    monkeypatch.setattr("llm_gateway.store.processes.endpoints", endpoints)
    return management


async def test_an_address_stays_known_while_the_database_is_away(management: Management) -> None:
    known = GatewayProcesses(management, None)  # pyright: ignore[reportArgumentType]
    assert await known.is_known("a:1")
    management.away, management.endpoints = True, frozenset({"b:1"})
    management.now += 31

    assert [await known.is_known("a:1") for _ in range(5)] == [True] * 5
    assert management.asked == 2
    with pytest.raises(Unavailable):
        await known.is_known("b:1")
    management.away = False
    management.now += 3
    assert not await known.is_known("a:1")
    assert await known.is_known("b:1")
