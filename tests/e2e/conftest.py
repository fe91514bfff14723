"""One stack for all end-to-end tests, in a folder of its own."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.e2e.go_programs import build_into
from tests.support.stack import LocalStack, running_stack

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterator

    from nagaya_client.client import Client

_FOLDER = Path(__file__).parent
_RUNNING = pytest.StashKey[ExitStack]()
_STACK = pytest.StashKey[LocalStack]()


@pytest.fixture(scope="session")
def _ending(pytestconfig: pytest.Config) -> Iterator[None]:
    """End the stack when the session ends early, too."""
    yield
    _end(pytestconfig)


@pytest.fixture(scope="module")
def stack(
    _ending: None, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> LocalStack:
    """The stack, from the first module that needs it to the last test of this folder."""
    stash = pytestconfig.stash
    if _STACK not in stash:
        running = stash[_RUNNING] = ExitStack()
        folder = tmp_path_factory.mktemp("stack")
        stash[_STACK] = running.enter_context(running_stack(folder))
    return stash[_STACK]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, None, None]:
    """End the stack after the folder's last test: tests of other folders need the machine."""
    try:
        return (yield)
    finally:
        if nextitem is None or not nextitem.path.is_relative_to(_FOLDER):
            _end(item.config)


def _end(config: pytest.Config) -> None:
    if _STACK in config.stash:
        del config.stash[_STACK]
        config.stash[_RUNNING].close()


@pytest.fixture
async def client(stack: LocalStack) -> AsyncIterator[Client]:
    async with stack.client() as client:
        yield client


@pytest.fixture(scope="session")
def go_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the examples of the Go client."""
    folder = tmp_path_factory.mktemp("go")
    build_into(folder)
    return folder
