"""`up`, `status` and `logs`, with the supervisor detached as in real life."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import asyncpg
import pytest

from nagaya_local import commands
from nagaya_local.clone.tokens import issue_tenant_token
from nagaya_local.commands.doctor import doctor
from nagaya_local.errors import LocalError, StackBusy, StartFailed
from nagaya_local.machine.waiting import until
from nagaya_local.supervisor.orphans import find_orphans
from nagaya_local.supervisor.state import PartState, Phase, current_state

if TYPE_CHECKING:
    from nagaya_local.clone.layout import Layout

_PARTS = ("postgres", "s3")


def _ignore(_: str) -> None:
    pass


def _pids(layout: Layout) -> dict[str, int]:
    return json.loads(layout.pids.read_text())


async def test_a_second_up_starts_nothing(clone: Layout) -> None:
    await commands.up(clone, _ignore, _PARTS)
    before = _pids(clone)
    lines: list[str] = []

    await commands.up(clone, lines.append, _PARTS)

    assert lines == ["everything runs already"]
    assert _pids(clone) == before
    assert set(before) == {"postgres", "s3", "supervisor"}


async def test_up_takes_over_after_a_killed_supervisor(clone: Layout) -> None:
    await commands.up(clone, _ignore, _PARTS)
    supervisor = current_state(clone).supervisor
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    assert await until(lambda: not supervisor.alive, 10)

    await commands.up(clone, _ignore, _PARTS)

    state = commands.status(clone)
    assert state.phase is Phase.RUNNING
    assert {part.state for part in state.parts} == {PartState.READY}


async def test_up_that_is_interrupted_stops_what_it_started(clone: Layout) -> None:
    lines: list[str] = []
    starting = asyncio.create_task(commands.up(clone, lines.append, ("s3", "temporal")))
    assert await until(lambda: bool(lines), 30)  # one is ready; Temporal takes seconds
    starting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await starting

    assert find_orphans(clone) == ()
    assert commands.status(clone).phase is Phase.STOPPED


async def test_two_ups_at_once_start_one_stack(clone: Layout) -> None:
    one, other = await asyncio.gather(
        commands.up(clone, _ignore, _PARTS), commands.up(clone, _ignore, _PARTS)
    )

    assert one == other
    assert len(_pids(clone)) == 3


async def test_a_killed_part_comes_back_on_its_port_with_its_data(clone: Layout) -> None:
    endpoints = await commands.up(clone, _ignore, _PARTS)
    os.kill(_pids(clone)["postgres"], signal.SIGKILL)

    def is_back() -> bool:
        part = current_state(clone).parts[0]
        return (part.name, part.state, part.restarts) == ("postgres", PartState.READY, 1)

    assert await until(is_back, 30)
    await (await asyncpg.connect(endpoints.pg_url)).close()


async def test_up_waits_for_a_part_that_is_being_started_again(clone: Layout) -> None:
    endpoints = await commands.up(clone, _ignore, _PARTS)
    os.kill(_pids(clone)["postgres"], signal.SIGKILL)
    assert await until(lambda: current_state(clone).parts[0].state is not PartState.READY, 10)
    lines: list[str] = []

    await commands.up(clone, lines.append, _PARTS)

    await (await asyncpg.connect(endpoints.pg_url)).close()
    assert lines[-1] == "everything runs already"
    assert any(line.startswith("postgres     ready in ") for line in lines)


async def test_up_says_that_another_command_stopped_the_stack(clone: Layout) -> None:
    lines: list[str] = []
    starting = asyncio.create_task(commands.up(clone, lines.append, ("s3", "temporal")))
    assert await until(lambda: bool(lines), 30)  # one is ready; Temporal takes seconds
    await commands.down(clone, _ignore)

    with pytest.raises(StackBusy, match="another command stopped the stack"):
        await starting


async def test_a_port_taken_while_the_stack_was_down_is_reported_and_replaced(
    clone: Layout,
) -> None:
    first = await commands.up(clone, _ignore, _PARTS)
    await commands.down(clone, _ignore)
    lines: list[str] = []

    with ExitStack() as taken:
        with suppress(OSError):  # another process has taken it meanwhile: as good
            port = int(first.s3_endpoint.rpartition(":")[2])
            taken.enter_context(socket.create_server(("127.0.0.1", port)))
        second = await commands.up(clone, lines.append, _PARTS)

    assert second.s3_endpoint != first.s3_endpoint
    assert second.pg_url == first.pg_url
    assert "of s3 is taken by another process" in lines[0]


async def test_a_given_address_replaces_the_embedded_part(
    clone: Layout, monkeypatch: pytest.MonkeyPatch, management_url: str
) -> None:
    monkeypatch.setenv("NAGAYA_PG_URL", management_url)

    endpoints = await commands.up(clone, _ignore, _PARTS)

    assert endpoints.pg_url == management_url
    assert set(_pids(clone)) == {"s3", "supervisor"}


async def test_addresses_of_its_own_in_the_environment_change_nothing(
    clone: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoints = await commands.up(clone, _ignore, _PARTS)
    monkeypatch.setenv("NAGAYA_PG_URL", endpoints.pg_url)
    monkeypatch.setenv("S3_ENDPOINT", endpoints.s3_endpoint)
    lines: list[str] = []

    await commands.up(clone, lines.append, _PARTS)

    assert lines == ["everything runs already"]


async def test_an_unreachable_database_is_named_with_the_remedy_and_nothing_stays(
    clone: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAGAYA_PG_URL", "postgresql://nobody@127.0.0.1:1/nagaya")

    with pytest.raises(StartFailed, match="NAGAYA_PG_URL does not lead to a database") as failed:
        await commands.up(clone, _ignore, _PARTS)

    assert "unset it" in failed.value.remedy
    assert find_orphans(clone) == ()
    assert commands.status(clone).phase is Phase.FAILED


async def test_an_unknown_part_is_refused_before_anything_is_touched(clone: Layout) -> None:
    await commands.up(clone, _ignore, _PARTS)

    with pytest.raises(LocalError, match="no part nonsense"):
        await commands.up(clone, _ignore, ("nonsense",))

    assert commands.status(clone).phase is Phase.RUNNING


async def test_everything_secret_is_readable_by_its_owner_only(clone: Layout) -> None:
    await commands.up(clone, _ignore, _PARTS)
    token = issue_tenant_token(clone, "acme")

    secret = [clone.endpoints, token, *clone.keys.iterdir(), *clone.tokens.iterdir()]
    assert {path.stat().st_mode & 0o777 for path in secret} == {0o600}
    assert clone.data.stat().st_mode & 0o777 == 0o700


async def test_the_doctor_ends_with_what_is_wrong(
    clone: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    assert await doctor(clone, lines.append)
    assert lines[-1] == "problems: none found"

    monkeypatch.setenv("S3_ENDPOINT", "http://127.0.0.1:1")
    assert not await doctor(clone, lines.append)
    assert lines[-2] == "problems: 1"
    assert lines[-1].startswith("  S3_ENDPOINT is set without S3_ACCESS_KEY and S3_SECRET_KEY")


async def test_logs_and_doctor_tell_no_password(clone: Layout) -> None:
    endpoints = await commands.up(clone, _ignore, _PARTS)
    lines: list[str] = []
    await commands.logs(clone, lines.append)
    await doctor(clone, lines.append)

    text = "\n".join(lines)
    assert "postgres | " in text
    assert "PostgreSQL) 18" in text
    assert endpoints.s3_secret_key not in text
    assert endpoints.pg_url.split("@")[0] not in text
