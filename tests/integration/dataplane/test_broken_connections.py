"""A connection to a database breaks, wherever it is: callers get UNAVAILABLE, no defect."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest
from tests.support.tcp_proxy import TcpProxy

from dataplane import failures
from servicekit.errors import DatabaseUnavailable, DomainError, TooManyCalls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.dataplane.registry import Registry
    from tests.support.tcp_proxy import Way

    from dataplane.connection_lease import ConnectionLease
    from dataplane.pools import Connection
    from dataplane.tenants import DataPlane
    from nagaya_local.parts.postgres import PostgresServer

WAYS: tuple[Way, ...] = ("end", "reset", "garbage")
# What a client says first, when it is let in, and then.
STARTUP, IDENTITY, FIRST, COMMIT = b"", b"tenant_identity", b"INSERT INTO notes", b"COMMIT"


@pytest.fixture
async def proxy(registry: Registry, postgres: PostgresServer) -> AsyncIterator[TcpProxy]:
    """A way to acme's database that breaks at a chosen place."""
    async with TcpProxy(postgres.port).running() as proxy:
        registry.move("acme", proxy.port)
        yield proxy


async def insert(lease: ConnectionLease, number: int) -> None:
    async with lease as connection:
        await connection.execute(f"INSERT INTO notes VALUES ({number}) ON CONFLICT DO NOTHING")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("place", "lent"),
    [
        (place, lent)
        for lent in ("connection", "transaction")
        for place in (STARTUP, IDENTITY, FIRST)
    ]
    + [(COMMIT, "transaction")],
)
async def test_a_connection_that_breaks_is_unavailable_and_the_next_one_is_well(
    data: DataPlane, proxy: TcpProxy, place: bytes, way: Way, lent: str
) -> None:
    lend = getattr(data.tenants, lent)
    proxy.break_at(place, way)

    with pytest.raises(DatabaseUnavailable):
        await insert(lend("acme"), 1)
    await insert(lend("acme"), 2)

    assert proxy.broken == 1


async def test_a_database_that_lets_in_and_says_nothing_is_unavailable(
    data: DataPlane, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataplane.connection_parameters._CONNECT_SECONDS", 0.5)
    proxy.break_at(IDENTITY, "silence")

    with pytest.raises(DatabaseUnavailable):
        await insert(data.tenants.connection("acme"), 1)
    monkeypatch.undo()
    await insert(data.tenants.connection("acme"), 2)


@pytest.mark.parametrize("way", WAYS)
async def test_a_transaction_begins_on_another_connection_when_the_first_is_broken(
    data: DataPlane, proxy: TcpProxy, way: Way
) -> None:
    await insert(data.tenants.connection("acme"), 1)  # one is idle now
    proxy.break_at(b"BEGIN", way)

    await insert(data.tenants.transaction("acme"), 2)

    assert proxy.broken == 1


async def test_sessions_ended_at_random_moments_are_never_a_defect(
    data: DataPlane, registry: Registry
) -> None:
    """pg_terminate_backend, over and over, while connections are opened, checked and used."""
    raised: list[Exception] = []
    ended = asyncio.Event()

    async def use(number: int) -> None:
        lend = data.tenants.transaction if number % 2 else data.tenants.connection
        while not ended.is_set():
            try:
                await insert(lend("acme"), number)
            except Exception as error:
                raised.append(error)

    users = [asyncio.create_task(use(number)) for number in range(8)]
    for _ in range(60):
        await registry.close_sessions("acme")
    ended.set()
    await asyncio.gather(*users)

    assert any(isinstance(error, DatabaseUnavailable) for error in raised)
    busy = (DatabaseUnavailable, TooManyCalls)
    assert [error for error in raised if not isinstance(error, busy)] == []
    await insert(data.tenants.transaction("acme"), 100)


@pytest.mark.parametrize(
    "raising",
    [
        "RAISE EXCEPTION 'x' USING ERRCODE = '57P01'",
        "RAISE EXCEPTION 'x' USING ERRCODE = '57P05'",
        "RAISE EXCEPTION 'x' USING ERRCODE = '53100'",
        "RAISE EXCEPTION 'x' USING ERRCODE = '53300'",
        "RAISE EXCEPTION 'x' USING ERRCODE = '58030'",
        "RAISE EXCEPTION 'x' USING ERRCODE = '08006'",
        "RAISE EXCEPTION 'x' USING ERRCODE = '25006'",
        "RAISE EXCEPTION 'x' USING ERRCODE = '40001'",
        "RAISE EXCEPTION 'x' USING ERRCODE = '40P01'",
    ],
)
async def test_what_the_server_says_of_itself_is_unavailable(data: DataPlane, raising: str) -> None:
    with pytest.raises(DatabaseUnavailable):
        await do(data, f"DO $$ BEGIN {raising}; END $$")
    await insert(data.tenants.transaction("acme"), 1)


@pytest.mark.parametrize("statement", ["SELECT 1/0", "SELECT nothing", "NO SQL"])
async def test_what_a_statement_does_wrong_is_a_defect(data: DataPlane, statement: str) -> None:
    with pytest.raises(asyncpg.PostgresError):
        await do(data, statement)
    await insert(data.tenants.transaction("acme"), 1)


async def do(data: DataPlane, statement: str) -> None:
    async with data.tenants.transaction("acme") as connection:
        await connection.execute(statement)


async def test_a_table_that_changes_under_a_statement_is_unavailable_for_once(
    data: DataPlane, registry: Registry
) -> None:
    """As a migration does while calls go on."""

    async def read() -> None:
        async with data.tenants.transaction("acme") as connection:
            await connection.fetch("SELECT * FROM notes")

    await read()
    await registry.execute("acme", "ALTER TABLE notes ADD COLUMN more text")
    with pytest.raises(DatabaseUnavailable):
        await read()
    await read()


class Gone:
    """A connection that is closed, or is not."""

    def __init__(self, *, closed: bool) -> None:
        self.closed = closed

    def is_closed(self) -> bool:
        return self.closed


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("unable to perform operation on <TCPTransport closed=True>"),
        AttributeError("'NoneType' object has no attribute 'write'"),
        OSError(113, "No route to host"),
        asyncpg.InterfaceError("connection is closed"),
    ],
)
def test_whatever_a_closed_connection_raises_it_is_the_connection(error: Exception) -> None:
    closed, open_ = (_connection(closed=closed) for closed in (True, False))

    assert isinstance(failures.to_domain_error(error, closed), DatabaseUnavailable)
    assert failures.to_domain_error(error, open_) is None
    assert failures.to_domain_error(DomainError("refused"), closed) is None
    assert failures.to_domain_error(asyncio.CancelledError(), closed) is None


def _connection(*, closed: bool) -> Connection:
    gone: object = Gone(closed=closed)
    return gone  # pyright: ignore[reportReturnType] - what is looked at, it has
