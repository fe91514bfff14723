"""Tokens for people, signed by the clone's own issuer, or by the one that a command asks."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jwt

from nagaya_local.clone.keys import ISSUER, ISSUER_KID, Keys
from nagaya_local.errors import LocalError, UsageInvalid
from nagaya_local.machine import files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from threading import Event

    from nagaya_local.clone.layout import Layout

AUDIENCE = "nagaya"
OPERATOR = "operator"
_DAYS = 30
_COMMAND_SECONDS = 30.0
_LOOK_SECONDS = 0.2
TENANT_SCOPE = (
    "runs.* prompts.* pipelines.* artifacts.* calls.* "
    "catalog.read overrides.read audit.read tenants.read"
)
# As in the contract.
_TENANT_ID = re.compile(r"[a-z][a-z0-9-]{1,38}[a-z0-9]")


@dataclass(frozen=True, slots=True)
class _Person:
    """Whom a token is for."""

    user_id: str
    tenant: str
    """`*` for all."""
    scope: str


def issue_operator_token(layout: Layout) -> Path:
    """Write the token of who may do everything; returns its file. Raises LocalError."""
    return _issue(layout, OPERATOR)


def issue_tenant_token(layout: Layout, tenant_id: str) -> Path:
    """Write a token for a person of one tenant; returns its file, `var/dev/tokens/<tenant>.jwt`.

    Does not ask whether there is such a tenant. Raises LocalError when the stack has never been
    up, the id could not be a tenant's, or the command that is asked for tokens gives none.
    """
    check_tenant_id(tenant_id)
    return _issue(layout, tenant_id)


def check_tenant_id(tenant_id: str) -> None:
    """Raises UsageInvalid when the id could not be a tenant's, or its token the operator's."""
    if not _TENANT_ID.fullmatch(tenant_id):
        raise UsageInvalid(
            f"{tenant_id!r} is no tenant's id",
            "It has 3 to 40 lower-case letters, digits and hyphens, the first a letter, the last "
            "no hyphen.",
        )
    if tenant_id == OPERATOR:
        raise UsageInvalid(
            f"{OPERATOR}.jwt is the token of who may do everything",
            "Give the tenant another id.",
        )


def token_file(layout: Layout, name: str) -> Path:
    """Where the token of a tenant, or the operator's, is written."""
    return layout.tokens / f"{name}.jwt"


def operator_token(layout: Layout) -> str:
    """Return the operator's token as it was issued last."""
    return token_file(layout, OPERATOR).read_text().strip()


def ask_for_tokens(layout: Layout, command: Sequence[str]) -> None:
    """Have tokens asked from a command from now on; signed by the clone when it is empty."""
    if command:
        files.write_private(layout.token_command, json.dumps(list(command)) + "\n")
    else:
        layout.token_command.unlink(missing_ok=True)


def renew_tokens(layout: Layout) -> None:
    """Write every token anew that has been issued, and the operator's in any case.

    Raises LocalError when there is no token for the operator. Whoever else a command gives none
    keeps what there is: the person may be gone.
    """
    issue_operator_token(layout)
    for name in _issued(layout):
        if name != OPERATOR:
            _try_to_issue(layout, name)


def renew_old_tokens(layout: Layout, stop: Event | None = None) -> list[str]:
    """Write those tokens anew that have lived for half of their time; return what failed.

    Once `stop` is set the command that runs is ended, and no other begun.
    """
    failures: list[str] = []
    for name in _issued(layout):
        if stop is not None and stop.is_set():
            break
        if _is_old(token_file(layout, name)) and (why := _try_to_issue(layout, name, stop)):
            failures.append(why)
    return failures


def _issued(layout: Layout) -> Iterator[str]:
    for path in sorted(layout.tokens.glob("*.jwt")):
        if _TENANT_ID.fullmatch(path.stem):
            yield path.stem


def _is_old(path: Path) -> bool:
    began = path.stat().st_mtime
    try:
        claims = jwt.decode(path.read_text().strip(), options={"verify_signature": False})
        return time.time() > (began + claims["exp"]) / 2
    except (jwt.PyJWTError, KeyError, TypeError, ValueError):
        return True


def _try_to_issue(layout: Layout, name: str, stop: Event | None = None) -> str:
    """Issue a token; return why it could not be, or nothing."""
    try:
        _issue(layout, name, stop)
    except LocalError as error:
        return error.message
    return ""


def _issue(layout: Layout, name: str, stop: Event | None = None) -> Path:
    if name == OPERATOR:
        person = _Person(OPERATOR, "*", "*")
    else:
        person = _Person(f"user@{name}", name, TENANT_SCOPE)
    by_command = layout.token_command.exists()
    token = _asked_for(layout, person, stop) if by_command else _signed(layout, person)
    path = token_file(layout, name)
    files.write_private(path, token + "\n")
    path.parent.chmod(0o700)
    return path


def _signed(layout: Layout, person: _Person) -> str:
    keys = Keys(layout.keys)
    if not keys.issuer.exists():
        raise LocalError("this clone has no keys yet", "Run `nagaya dev up` first.")
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": person.user_id,
        "iat": now,
        "exp": now + _DAYS * 24 * 3600,
        "scope": person.scope,
        "tenants": [person.tenant],
    }
    return jwt.encode(claims, keys.issuer_key(), algorithm="ES256", headers={"kid": ISSUER_KID})


def _asked_for(layout: Layout, person: _Person, stop: Event | None) -> str:
    command = json.loads(layout.token_command.read_text())
    remedy = "Run what NAGAYA_DEV_TOKEN_COMMAND says yourself, with a user, a tenant, permissions."
    try:
        done = _run(layout, [*command, person.user_id, person.tenant, person.scope], stop)
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError) as error:
        why = "it does not end"
        if isinstance(error, OSError):
            why = error.strerror or type(error).__name__
        elif isinstance(error, UnicodeDecodeError):
            why = "what it printed is no UTF-8"
        raise LocalError(f"no token for {person.user_id}: {command[0]}: {why}", remedy) from None
    token = done.stdout.strip()
    if done.returncode == 0 and token and token.isprintable():
        return token
    why = f"{command[0]} ended with {done.returncode}"
    if done.returncode == 0:
        why += " and printed no token"
    said = tuple(done.stderr.strip().splitlines()[-5:])
    raise LocalError(f"no token for {person.user_id}: {why}", remedy, said)


def _run(
    layout: Layout, arguments: list[str], stop: Event | None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; what it began ends too if it takes too long or is stopped.

    Raises OSError, UnicodeDecodeError, and TimeoutExpired.
    """
    deadline = time.monotonic() + _COMMAND_SECONDS
    with subprocess.Popen(
        arguments,
        cwd=layout.root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    ) as process:
        try:
            while True:
                try:
                    printed, said = process.communicate(timeout=_LOOK_SECONDS)
                except subprocess.TimeoutExpired:
                    if time.monotonic() > deadline or (stop is not None and stop.is_set()):
                        raise
                else:
                    return subprocess.CompletedProcess(arguments, process.returncode, printed, said)
        except BaseException:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
