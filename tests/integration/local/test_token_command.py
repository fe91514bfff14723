"""People's tokens of a stack whose issuer is somebody else's, got by a command."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import jwt
import pytest

from nagaya_local.clone import tokens
from nagaya_local.clone.choices import Choices
from nagaya_local.clone.keys import Keys
from nagaya_local.clone.layout import Layout
from nagaya_local.clone.tokens import (
    ask_for_tokens,
    issue_operator_token,
    issue_tenant_token,
    renew_old_tokens,
    renew_tokens,
    token_file,
)
from nagaya_local.errors import EnvironmentInvalid, LocalError
from nagaya_local.machine.processes import ProcessId

if TYPE_CHECKING:
    from pathlib import Path

ISSUER = {"NAGAYA_OIDC_ISSUER": "https://login.example.com"}
COMMAND = {"NAGAYA_DEV_TOKEN_COMMAND": "get-token --realm 'our people'"}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    Keys(layout.keys).make()
    return layout


def program(layout: Layout, text: str) -> list[str]:
    file = layout.root / "get-token"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o700)
    return [str(file), "--realm", "main"]


def token_of(seconds: float) -> str:
    return jwt.encode({"exp": int(time.time() + seconds)}, "k" * 32)


def test_a_command_is_given_for_whom_and_for_what_a_token_is(layout: Layout) -> None:
    ask_for_tokens(layout, program(layout, 'printf "%s|" "$@"'))

    assert issue_operator_token(layout).read_text() == "--realm|main|operator|*|*|\n"
    given = issue_tenant_token(layout, "acme").read_text().split("|")
    assert given[2:4] == ["user@acme", "acme"]
    assert "runs.*" in given[4].split()
    assert "tenants.write" not in given[4]
    assert token_file(layout, "acme").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("echo no such person >&2; exit 3", "get-token ended with 3"),
        ("exit 0", "get-token ended with 0 and printed no token"),
        ('printf "two\\nlines"', "get-token ended with 0 and printed no token"),
        ("printf '\\377'", "get-token: what it printed is no UTF-8"),
    ],
)
def test_a_command_that_gives_no_token_is_named(layout: Layout, text: str, why: str) -> None:
    ask_for_tokens(layout, program(layout, text))
    with pytest.raises(LocalError, match="no token for user@acme") as refused:
        issue_tenant_token(layout, "acme")

    assert refused.value.message.endswith(why)
    assert refused.value.log_tail in ((), ("no such person",))
    assert not token_file(layout, "acme").exists()


def test_a_command_that_is_not_there_is_named(layout: Layout) -> None:
    ask_for_tokens(layout, ["/no/such/get-token"])

    with pytest.raises(LocalError, match="/no/such/get-token: No such file"):
        renew_tokens(layout)


def test_a_person_who_is_gone_keeps_nobody_from_starting(layout: Layout) -> None:
    ask_for_tokens(layout, program(layout, "echo token"))
    issue_tenant_token(layout, "acme")
    ask_for_tokens(layout, program(layout, '[ "$4" = "*" ] && echo another'))
    renew_tokens(layout)

    assert issue_operator_token(layout).read_text() == "another\n"
    assert token_file(layout, "acme").read_text() == "token\n"


def test_a_token_is_renewed_when_half_of_its_time_is_over(layout: Layout) -> None:
    ask_for_tokens(layout, program(layout, f'printf %s "{token_of(600)}"'))
    half = issue_tenant_token(layout, "half")
    fresh = issue_tenant_token(layout, "fresh")
    written = time.time() - 700  # it was to live for 1,300 seconds
    os.utime(half, (written, written))
    ask_for_tokens(layout, program(layout, "echo renewed"))

    assert renew_old_tokens(layout) == []
    assert half.read_text() == "renewed\n"
    assert fresh.read_text() != "renewed\n"


def test_a_renewal_that_fails_is_reported_and_keeps_the_token(layout: Layout) -> None:
    ask_for_tokens(layout, program(layout, "echo expired-long-ago"))
    token = issue_tenant_token(layout, "acme")
    ask_for_tokens(layout, program(layout, "exit 1"))

    (why,) = renew_old_tokens(layout)
    assert why.startswith("no token for user@acme")
    assert token.read_text() == "expired-long-ago\n"


def test_a_command_that_hangs_ends_with_all_that_it_has_begun(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "_COMMAND_SECONDS", 1.0)
    begun = layout.root / "begun"
    ask_for_tokens(layout, program(layout, f"sleep 300 & echo $! > {begun}; wait"))

    with pytest.raises(LocalError, match="it does not end"):
        issue_operator_token(layout)

    _wait_until_ended(int(begun.read_text()))


def test_the_end_of_a_stack_waits_for_no_command(layout: Layout) -> None:
    ask_for_tokens(layout, program(layout, "echo expired-long-ago"))
    for name in ("acme", "globex", "initech"):
        issue_tenant_token(layout, name)
    begun = layout.root / "begun"
    ask_for_tokens(layout, program(layout, f"echo $$ >> {begun}; exec sleep 300"))
    stop = threading.Event()

    with ThreadPoolExecutor() as threads:
        renewal = threads.submit(renew_old_tokens, layout, stop)
        while not (begun.exists() and begun.read_text().endswith("\n")):
            time.sleep(0.01)
        stop.set()

        (why,) = renewal.result(timeout=20)
    assert why.startswith("no token for user@acme")
    (process,) = begun.read_text().split()
    _wait_until_ended(int(process))


def _wait_until_ended(process_id: int) -> None:
    for _ in range(2000):
        if not ProcessId.of(process_id).alive:
            return
        time.sleep(0.01)
    raise AssertionError(f"the process {process_id} lives")


def test_what_the_clone_signs_is_signed_again_without_a_command(layout: Layout) -> None:
    ask_for_tokens(layout, program(layout, "echo theirs"))
    issue_operator_token(layout)
    ask_for_tokens(layout, ())
    renew_tokens(layout)

    assert issue_operator_token(layout).read_text().count(".") == 2


def test_a_command_needs_the_issuer_whose_tokens_it_gets() -> None:
    with pytest.raises(EnvironmentInvalid, match="is set without NAGAYA_OIDC_ISSUER"):
        Choices.read(COMMAND, {})

    chosen = Choices.read(COMMAND | ISSUER, {})
    assert chosen.token_command == ("get-token", "--realm", "our people")
    assert chosen.people == ISSUER
    assert chosen.digest != Choices.read(ISSUER, {}).digest


def test_the_settings_of_a_given_server_go_with_it_alone() -> None:
    tls = {"PGSSLMODE": "verify-full", "TEMPORAL_TLS_SERVER_NAME": "t", "TEMPORAL_API_KEY": "hush"}
    own = Choices.read(tls, {})
    given = Choices.read(
        tls | {"NAGAYA_PG_URL": "postgresql://a:b@db/nagaya", "TEMPORAL_ADDRESS": "t:1"}, {}
    )

    assert (own.postgres, own.temporal) == ({}, {})
    assert given.postgres == {"PGSSLMODE": "verify-full"}
    assert given.temporal == {"TEMPORAL_TLS_SERVER_NAME": "t", "TEMPORAL_API_KEY": "hush"}
