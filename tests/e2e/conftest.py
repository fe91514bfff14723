"""One stack for all end-to-end tests, in a folder of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.stack import LocalStack, running_stack

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from nagaya_client.client import Client


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    with running_stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture
async def client(stack: LocalStack) -> AsyncIterator[Client]:
    async with stack.client() as client:
        yield client
