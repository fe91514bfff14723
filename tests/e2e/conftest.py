"""One stack for all end-to-end tests, in a folder of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.e2e.house import House, running_house
from tests.e2e.installed import install_functions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from nagaya_client.client import Client


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    functions = tmp_path_factory.mktemp("functions")
    install_functions(functions)
    with running_house(tmp_path_factory.mktemp("house"), PYTHONPATH=str(functions)) as house:
        yield house


@pytest.fixture
async def client(house: House) -> AsyncIterator[Client]:
    async with house.client() as client:
        yield client
