"""The write-ahead logs of servers on which a purged tenant is not keep no purge."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import asyncpg
import pytest

from tenant.deletion import written_log
from tenant.deletion.written_log import WrittenLogs
from tenant.errors import ServerUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class _Connection:
    """A server's, which refuses or hangs from the first question on."""

    def __init__(self, failure: Exception | None, *, hangs: bool) -> None:
        self._failure, self._hangs, self._closed = failure, hangs, False

    async def execute(self, _: str) -> None:
        return

    async def fetchval(self, _: str) -> str:
        if self._failure is not None:
            raise self._failure
        if self._hangs:
            await asyncio.Event().wait()
        return "0" * 24

    async def fetch(self, _: str) -> list[dict[str, str]]:
        return []

    def terminate(self) -> None:
        self._closed = True

    def is_closed(self) -> bool:
        return self._closed


@dataclass(frozen=True, slots=True)
class _Server:
    server_id: str
    connection: _Connection

    @asynccontextmanager
    async def provisioner(self) -> AsyncGenerator[_Connection]:
        yield self.connection


@dataclass(frozen=True, slots=True)
class _Servers:
    other: _Connection

    async def all_ids(self) -> list[str]:
        return ["main", "other"]

    async def unless_lost(self, server_id: str) -> _Server:
        own = _Connection(None, hangs=False)
        return _Server(server_id, own if server_id == "main" else self.other)


@pytest.mark.parametrize(
    ("failure", "why"),
    [
        (asyncpg.ObjectNotInPrerequisiteStateError("recovery is in progress"), "recovery is in"),
        (asyncpg.UndefinedFunctionError("no pg_ls_waldir"), "no pg_ls_waldir"),
        (ServerUnavailable("other"), "cannot be reached"),
        (None, "took longer"),
    ],
)
async def test_another_server_that_refuses_or_hangs_is_reported_as_unproven(
    monkeypatch: pytest.MonkeyPatch, failure: Exception | None, why: str
) -> None:
    monkeypatch.setattr(written_log, "_SECONDS", 0.05)
    connection = _Connection(failure, hangs=failure is None)
    logs = WrittenLogs(cast("Any", _Servers(connection)), cast("Any", None))

    own, other = await logs.overwrite(cast("Any", None), "main")

    assert (own.found_before, own.found_after, own.unproven) == (0, 0, ())
    assert (other.found_before, other.found_after) == (None, None)
    assert why in other.unproven[0]
    assert connection.is_closed() is (failure is None)
