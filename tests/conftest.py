"""Real parts for tests: PostgreSQL, S3 and Temporal, one of each per test process."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import os
import secrets
import signal
import sys
from threading import Timer
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from tests.support.postgres import drop_all_but, folder_in_memory, list_databases
from xdist.scheduler import LoadFileScheduling

from nagaya_local.machine.ports import free_port
from nagaya_local.machine.running import running_from_sync
from nagaya_local.parts.postgres import PostgresServer
from nagaya_local.parts.s3 import S3Server
from nagaya_local.parts.temporal import TemporalServer

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from xdist.remote import Producer

# How fast something is says nothing on a busy machine.
settings.register_profile("nagaya", deadline=None)
settings.load_profile("nagaya")

STACK = "e2e"
CLEAN_UP_SECONDS = 240.0
LONGEST_FIRST = (STACK, "fault", "local", "llm_gateway", "runs", "tenant", "integration")


def pytest_configure(config: pytest.Config) -> None:
    # Let Ctrl-C reach what tests start: begun in a shell's background, we would ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "PYTEST_XDIST_WORKER" not in os.environ:
        config.pluginmanager.register(_FailuresAtOnce(config))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """End the process when a test does not end: its own timeout comes once, and not for clean-up.

    What every thread and task was waiting for is written first.
    """
    mark = item.get_closest_marker("timeout")
    seconds = float(mark.args[0] if mark else item.config.getini("timeout"))
    watchdog = Timer(seconds + CLEAN_UP_SECONDS, _give_up, (item.nodeid,))
    watchdog.daemon = True
    watchdog.start()
    try:
        return (yield)
    finally:
        watchdog.cancel()


def _give_up(nodeid: str) -> None:
    out = sys.__stderr__ or sys.stderr
    print(f"{nodeid} does not end; the process is given up", file=out)
    for task in [one for one in gc.get_objects() if isinstance(one, asyncio.Task)]:
        if not task.done():
            task.print_stack(file=out)
    faulthandler.dump_traceback(out, all_threads=True)
    os._exit(70)


class _FailuresAtOnce:
    """Says at once what failed: the summary is lost when the whole run is ended."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and terminal is not None:
            said = (f"\n{report.nodeid}, {report.when}:", report.longreprtext, report.capstdout)
            terminal.write_line("\n".join(said))


class _ByFile(LoadFileScheduling):
    """Keeps a file's tests in one process; those of the whole stack are two groups, each with one.

    The mark `xdist_group` would say the same; xdist 3.8 does not see it under pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        folder, _, name = file.rpartition("/")
        if not folder.endswith(STACK):
            return file
        return f"{STACK} a" if name < "test_m" else f"{STACK} b"


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
def servers_folder(parts_folder: Path) -> Iterator[Path]:
    """Where PostgreSQL servers keep their data: in memory, if there is enough."""
    with folder_in_memory(parts_folder / "servers") as folder:
        yield folder


@pytest.fixture(scope="session")
def postgres(servers_folder: Path, parts_folder: Path) -> Iterator[PostgresServer]:
    """A server with the provisioner's role, host-based rules and the management database."""
    server = PostgresServer(servers_folder / "postgres", free_port(), durable=False)
    with running_from_sync(server, parts_folder / "postgres.log"):
        yield server


@pytest.fixture
def management_url(postgres: PostgresServer) -> Iterator[str]:
    """The provisioner's address of a management database of the test's own.

    Its name prefixes the roles made for it, so tests on one cluster do not meet. It is dropped
    afterwards, with all other databases that the test has left.
    """
    before = asyncio.run(list_databases(postgres))
    yield asyncio.run(postgres.create_management_database(f"nagaya_{secrets.token_hex(4)}"))
    asyncio.run(drop_all_but(postgres, before))


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
