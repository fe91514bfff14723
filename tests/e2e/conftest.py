"""One stack for all end-to-end tests, in a folder of its own."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest
from tests.e2e.house import House
from tests.e2e.installed import install_functions

from nagaya_local.commands import down, up
from nagaya_local.layout import Layout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from nagaya_client.client import Client


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    functions = tmp_path_factory.mktemp("functions")
    install_functions(functions)
    layout = Layout(tmp_path_factory.mktemp("house"))
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(functions))
            endpoints = asyncio.run(up(layout, _say))
        yield House(layout, endpoints)
    finally:
        asyncio.run(down(layout, _say))


@pytest.fixture
async def client(house: House) -> AsyncIterator[Client]:
    async with house.client() as client:
        yield client


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
