"""Real parts for tests: PostgreSQL, S3 and Temporal, one of each per test process."""

from __future__ import annotations

import asyncio
import secrets
import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

from nagaya_local.machine.ports import free_port
from nagaya_local.machine.running import running_from_sync
from nagaya_local.parts.postgres import PostgresServer
from nagaya_local.parts.s3 import S3Server
from nagaya_local.parts.temporal import TemporalServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from xdist.remote import Producer

# How fast something is says nothing on a busy machine.
settings.register_profile("nagaya", deadline=None)
settings.load_profile("nagaya")

STACK = "e2e"
LONGEST_FIRST = (STACK, "fault", "local", "llm_gateway", "runs", "tenant", "integration")


def pytest_configure() -> None:
    """Let Ctrl-C reach what tests start: begun in a shell's background, we would ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class _ByFile(LoadFileScheduling):
    """Keeps a file's tests in one process, and those that share the whole stack too.

    The mark `xdist_group` would say the same; xdist 3.8 does not see it under pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return STACK if f"/{STACK}/" in file else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _ByFile:
    return _ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the folders with the longest tests: at the end nobody waits for another's."""
    items.sort(key=_place)  # stable: within a folder nothing moves


def _place(item: pytest.Item) -> int:
    folders = item.path.relative_to(item.config.rootpath).parts
    found = [place for place, folder in enumerate(LONGEST_FIRST) if folder in folders]
    return found[0] if found else len(LONGEST_FIRST)


@pytest.fixture(scope="session")
def parts_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parts")


@pytest.fixture(scope="session")
def postgres(parts_folder: Path) -> Iterator[PostgresServer]:
    """A server with the provisioner's role, host-based rules and the management database."""
    server = PostgresServer(parts_folder / "postgres", free_port(), durable=False)
    with running_from_sync(server, parts_folder / "postgres.log"):
        yield server


@pytest.fixture
def management_url(postgres: PostgresServer) -> str:
    """The provisioner's address of a management database of the test's own.

    Its name prefixes the roles made for it, so tests on one cluster do not meet.
    """
    return asyncio.run(postgres.create_management_database(f"nagaya_{secrets.token_hex(4)}"))


@pytest.fixture(scope="session")
def s3(parts_folder: Path) -> Iterator[S3Server]:
    """An S3 server with the bucket `storage`."""
    server = S3Server(parts_folder / "s3", parts_folder / "s3-keys.json", free_port(), stale_ms=100)
    with running_from_sync(server, parts_folder / "s3.log"):
        yield server


@pytest.fixture(scope="session")
def temporal(parts_folder: Path) -> Iterator[TemporalServer]:
    """A tuned Temporal server with its file database and the namespace `default`."""
    server = TemporalServer(parts_folder / "temporal", free_port())
    with running_from_sync(server, parts_folder / "temporal.log", seconds=120):
        yield server
