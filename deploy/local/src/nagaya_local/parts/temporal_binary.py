"""Where the Temporal binary comes from: no package registry for Python or Debian has it.

The ways, in order: PATH, the user's cache, the download of Temporal's SDK, a build with Go. The
first two take no time, the third depends on the network, the last takes about three minutes, once
for all clones of a user.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nagaya_local.errors import TemporalMissing
from nagaya_local.machine.locks import exclusive
from nagaya_local.machine.watched import Silent, run_watched

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

VERSION = "v1.5.1"
_MODULE = "github.com/temporalio/cli"
_OLDEST = (1, 29)
_SERVER = re.compile(r"\bServer (\d+)\.(\d+)\.")
_DOWNLOAD_SILENCE = 10.0
# Linking 250 MB prints nothing for a while on a busy machine.
_BUILD_SILENCE = 240.0

_DOWNLOAD = f"""\
import asyncio, sys
from temporalio.testing import WorkflowEnvironment
async def main():
    server = await WorkflowEnvironment.start_local(
        dev_server_download_version="{VERSION}", download_dest_dir=sys.argv[1]
    )
    await server.shutdown()
asyncio.run(main())
"""


@dataclass(frozen=True, slots=True)
class TemporalBinary:
    """An executable and its server's version, such as (1, 29): data files belong to one."""

    path: Path
    server: tuple[int, int]


class Unfit(Exception):
    """This way leads to no binary; the text says why."""


class TemporalFinder:
    """Finds the binary; `report` hears what takes long."""

    def __init__(
        self, cache: Path | None = None, report: Callable[[str], None] | None = None
    ) -> None:
        self._folder = (cache or user_cache()) / "nagaya" / f"temporal-{VERSION}"
        self._report = report or _silent

    @property
    def cached(self) -> Path:
        return self._folder / "temporal"

    async def find(self, written_by: tuple[int, int] | None = None) -> TemporalBinary:
        """Return a binary, of the server `written_by` if histories of one are to be read.

        Raises TemporalMissing, which names every way and why it failed.
        """
        refusals: list[str] = []
        for name, way in (
            ("PATH", self._from_path),
            (f"cache {self.cached}", self._from_cache),
            ("download", self._download),
            ("go install", self._build),
        ):
            try:
                return await fitting(await way(), written_by)
            except Unfit as reason:
                refusals.append(f"{name}: {reason}")
        raise TemporalMissing(
            "no Temporal server to be had\n  " + "\n  ".join(refusals),
            "Any one of these helps: set TEMPORAL_ADDRESS to a running server; put `temporal` of "
            "https://temporal.io/setup/install-temporal-cli on PATH; install Go; "
            f"copy the binary to {self.cached}.",
        )

    async def present(self) -> TemporalBinary | None:
        """Return a binary that needs neither network nor build, or None."""
        for way in (self._from_path, self._from_cache):
            try:
                return await fitting(await way(), None)
            except Unfit:
                continue
        return None

    async def _from_path(self) -> Path:
        found = shutil.which("temporal")
        if found is None:
            raise Unfit("no `temporal` there")
        return Path(found)

    async def _from_cache(self) -> Path:
        if not self.cached.exists():
            raise Unfit("nothing there")
        return self.cached

    async def _download(self) -> Path:
        async with self._workshop() as folder:
            if self.cached.exists():
                return self.cached
            self._report(f"downloading Temporal {VERSION}")
            command = (sys.executable, "-c", _DOWNLOAD, str(folder))
            try:
                await run_watched(command, {}, _DOWNLOAD_SILENCE, lambda _: None, grows=folder)
            except Silent as stuck:
                raise Unfit(str(stuck)) from None
            return self._keep(folder)

    async def _build(self) -> Path:
        go = shutil.which("go")
        if go is None:
            raise Unfit("no `go` on PATH")
        async with self._workshop() as folder:
            if self.cached.exists():
                return self.cached
            self._report(f"building Temporal {VERSION} with Go: about 3 minutes, once")
            count = 0

            def compiled(line: str) -> None:
                nonlocal count
                count += 1
                if count % 100 == 0:
                    self._report(f"building Temporal {VERSION}: {count} packages ({line})")

            target = f"{_MODULE}@{VERSION}"
            environment = {"GOBIN": str(folder), "GOFLAGS": "", "CGO_ENABLED": "0"}
            install = (go, "install", "-v", "-trimpath", "-ldflags=-s -w")
            try:
                # First whether the module proxy answers at all: a build may be silent for longer.
                await run_watched(
                    (go, "mod", "download", "-json", target), environment,
                    _DOWNLOAD_SILENCE, lambda _: None,
                )  # fmt: skip
                await run_watched(
                    (*install, f"{_MODULE}/cmd/temporal@{VERSION}"), environment,
                    _BUILD_SILENCE, compiled,
                )  # fmt: skip
            except Silent as stuck:
                raise Unfit(str(stuck)) from None
            return self._keep(folder)

    @asynccontextmanager
    async def _workshop(self) -> AsyncGenerator[Path]:
        """A folder to make the binary in, while no other clone does the same."""
        self._folder.mkdir(parents=True, exist_ok=True)
        async with exclusive(self._folder / "lock", lambda: self._report(
            "waiting for another clone that gets Temporal"
        )):  # fmt: skip
            folder = self._folder / f"making-{os.getpid()}"
            folder.mkdir()
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def _keep(self, folder: Path) -> Path:
        made = [path for path in folder.iterdir() if path.is_file()]
        if len(made) != 1:
            raise Unfit(f"left {len(made)} files instead of one")
        made[0].chmod(0o755)
        made[0].replace(self.cached)
        return self.cached


async def fitting(path: Path, written_by: tuple[int, int] | None) -> TemporalBinary:
    """Check a binary by its own words. Raises Unfit."""
    lines: list[str] = []
    try:
        await run_watched((str(path), "--version"), {}, _DOWNLOAD_SILENCE, lines.append)
    except Silent as stuck:
        raise Unfit(f"{path} does not run: {stuck}") from None
    match = _SERVER.search(" ".join(lines))
    if match is None:
        raise Unfit(f"{path} names no server version: {' '.join(lines)[:100]}")
    server = (int(match[1]), int(match[2]))
    if written_by is not None and server != written_by:
        raise Unfit(f"{path} is server {_dotted(server)}, the histories are {_dotted(written_by)}")
    if server < _OLDEST:
        raise Unfit(f"{path} is server {_dotted(server)}, older than {_dotted(_OLDEST)}")
    return TemporalBinary(path, server)


def user_cache() -> Path:
    """The folder for what can be had again, outside every clone."""
    if platform.system() == "Darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _silent(_: str) -> None:
    pass
