"""Addresses in the environment that lead nowhere: named with their variable, and nothing stays."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest
from tests.support.old_postgres import OldPostgres

from nagaya_local import commands
from nagaya_local.clone.choices import Choices
from nagaya_local.clone.layout import Layout
from nagaya_local.errors import EnvironmentInvalid, NotReady, StartFailed
from nagaya_local.machine.ports import free_port
from nagaya_local.machine.running import running
from nagaya_local.parts.external import probe_postgres, probe_s3
from nagaya_local.supervisor.orphans import find_orphans

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from nagaya_local.parts.s3 import S3Server

_FORMS = {
    "NAGAYA_PG_URL": "postgresql://somebody:secret@{}/nagaya",
    "S3_ENDPOINT": "http://{}",
    "TEMPORAL_ADDRESS": "{}",
}
_KEYS = {"S3_ACCESS_KEY": "access", "S3_SECRET_KEY": "secret"}


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    for name in _FORMS:
        monkeypatch.delenv(name, raising=False)
    for name, value in _KEYS.items():
        monkeypatch.setenv(name, value)
    return Layout(tmp_path)


@pytest.fixture
def silent() -> Generator[str]:
    """The address of somebody who takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("name", _FORMS)
@pytest.mark.parametrize("answers", ["refuses", "says nothing"])
async def test_an_address_that_leads_nowhere_is_named_in_time_and_nothing_stays(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, silent: str, name: str, answers: str
) -> None:
    address = silent if answers == "says nothing" else "127.0.0.1:1"
    monkeypatch.setenv(name, _FORMS[name].format(address))
    began = time.monotonic()

    with pytest.raises(StartFailed) as failed:
        await commands.up(layout, lambda _: None, ("postgres", "s3", "temporal"))

    assert time.monotonic() - began < 40  # a part of its own would be waited for a minute
    error = failed.value
    assert error.exit_code == 6
    assert f"{name} does not lead to" in error.message
    assert f"{address}" in error.message
    why = "Connection refused" if answers == "refuses" else "nothing came|timed out"
    assert any(one in error.message for one in why.split("|")), error.message
    assert "secret" not in error.message
    assert name in error.remedy
    assert "unset it" in error.remedy
    assert find_orphans(layout) == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NAGAYA_PG_URL", "nonsense"),
        ("NAGAYA_PG_URL", "mysql://a:secret@127.0.0.1/x"),
        ("S3_ENDPOINT", "127.0.0.1:9000"),
        ("S3_ENDPOINT", "http://127.0.0.1:port"),
        ("TEMPORAL_ADDRESS", "127.0.0.1"),
        ("TEMPORAL_ADDRESS", "ftp://127.0.0.1:7233"),
    ],
)
def test_what_is_no_address_is_refused_before_anything_starts(name: str, value: str) -> None:
    with pytest.raises(EnvironmentInvalid, match=f"{name} is not ") as refused:
        Choices.read(_KEYS | {name: value}, {})

    assert refused.value.exit_code == 2
    assert "secret" not in refused.value.message


async def test_keys_that_do_not_open_the_store_are_named(s3: S3Server) -> None:
    given = {"S3_ENDPOINT": s3.endpoint} | _KEYS
    wrong = Choices.read(given, {}).s3
    right = Choices.read(
        given | {"S3_ACCESS_KEY": s3.keys.access_key, "S3_SECRET_KEY": s3.keys.secret_key}, {}
    ).s3
    assert wrong is not None
    assert right is not None

    await probe_s3(right)
    with pytest.raises(NotReady, match="S3_ACCESS_KEY and S3_SECRET_KEY do not open"):
        await probe_s3(wrong)


async def test_a_server_that_is_too_old_is_named_with_both_versions(tmp_path: Path) -> None:
    async with running(OldPostgres(tmp_path / "old", free_port()), tmp_path / "old.log") as server:
        with pytest.raises(NotReady, match=r"leads to PostgreSQL 16, and 18 or later is needed"):
            await probe_postgres(server.url)
