"""A clone of its own for each test of the stack, and a server with Envoy in front of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from tests.integration.local.backends import SEND, UNSAFE, Backend, Call

from nagaya_local import commands
from nagaya_local.clone.layout import Layout
from nagaya_local.envoy.bootstrap import Address, ProxiedService
from nagaya_local.envoy.contracts import Method, methods_of
from nagaya_local.machine.ports import free_port
from nagaya_local.machine.running import running_from_sync
from nagaya_local.parts.envoy import EnvoyServer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path


@pytest.fixture
async def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Layout]:
    """A folder with a space in its name, whose stack is down again afterwards."""
    for name in ("NAGAYA_PG_URL", "S3_ENDPOINT", "TEMPORAL_ADDRESS", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    layout = Layout(tmp_path / "a clone")
    layout.root.mkdir()
    yield layout
    await commands.down(layout, lambda _: None)


@pytest.fixture(scope="module")
def listen() -> Address:
    return Address("127.0.0.1", free_port())


@pytest.fixture(scope="module")
def admin_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def started(
    listen: Address, admin_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Backend]:
    """A backend with Envoy in front of it."""
    folder = tmp_path_factory.mktemp("an envoy")
    server = Address("127.0.0.1", free_port())
    own = [Method(path, streaming=path == SEND, max_seconds=30) for path in (UNSAFE, SEND)]
    front = ProxiedService("runs", listen, (server,), (*methods_of("nagaya.runs.v1"), *own))
    backend = Backend(server.port)
    backend.start()
    with running_from_sync(EnvoyServer(folder, (front,), admin_port), folder / "envoy.log"):
        yield backend
    backend.stop()


@pytest.fixture
def backend(started: Backend) -> Backend:
    started.failures = 0
    started.code = grpc.StatusCode.UNAVAILABLE
    started.calls.clear()
    return started


@pytest.fixture
def call(listen: Address) -> Iterator[Call]:
    """Calls a unary method through Envoy."""
    with grpc.insecure_channel(f"127.0.0.1:{listen.port}") as channel:

        def call(path: str, metadata: dict[str, str] | None = None, timeout: float = 20.0) -> bytes:
            pairs = tuple((metadata or {}).items())
            return channel.unary_unary(path)(b"", timeout=timeout, metadata=pairs)

        yield call
