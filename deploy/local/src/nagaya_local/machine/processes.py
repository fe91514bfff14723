"""Starting processes, identifying them later, and ending them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from nagaya_local.machine.waiting import until

if TYPE_CHECKING:
    from nagaya_local.machine.programs import Command, Stopping

# What a process gets from the caller's environment. Everything else would leak settings of this
# shell, and provider keys, into services that are not theirs.
_INHERITED = (
    "HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "PYTHONPATH", "TMPDIR", "TZ", "USER",
    "HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy",
    "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE",
)  # fmt: skip
_LOOPBACK = "127.0.0.1,localhost,::1"
_LOG_LIMIT = 20 * 1024 * 1024

MARKER = "LOCAL_STACK_ROOT"
"""The environment variable by which a process of a stack is known when its pid is not."""


class UserArguments(TypedDict, total=False):
    """Arguments of `subprocess.Popen` for another user."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process id with the time of its start: a pid alone may be another process by now."""

    pid: int
    began: str
    """In units of the system; empty when there was no such process."""

    @classmethod
    def of(cls, pid: int) -> ProcessId:
        return cls(pid, _began(pid) or "")

    @property
    def alive(self) -> bool:
        return self.began != "" and _began(self.pid) == self.began


def spawn(command: Command, log: Path, *, dies_with_parent: bool = True) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, its output appended to `log`.

    With `dies_with_parent` the kernel ends it when the caller is killed, where it can (Linux).
    Call it from the main thread: the kernel watches the thread that started the process.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > _LOG_LIMIT:
        log.replace(log.with_suffix(".log.1"))
    with log.open("ab") as output:
        return subprocess.Popen(
            [*_parent_death_prefix(dies_with_parent), *command.argv],
            cwd=command.folder,
            env=_environment(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **as_user(command.user),
        )


def as_user(name: str | None) -> UserArguments:
    """Return the arguments of `subprocess` that make a process run as a user; none for None."""
    if name is None:
        return {}
    account = pwd.getpwnam(name)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


async def stop(process: subprocess.Popen[bytes], stopping: Stopping) -> None:
    """Ask a child to end, kill it and its group when it does not, and reap it."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(stopping.signal)
        process.send_signal(signal.SIGCONT)  # a stopped one handles nothing else
    await until(lambda: process.poll() is not None, stopping.seconds)
    _kill_group(process.pid)
    process.wait()


def send_signal(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that is no child of this one; resume it if it is stopped."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        os.kill(pid, signal.SIGCONT)


async def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a child that hangs, with everything that it has started, and reap it."""
    # Those in groups of their own too, as PostgreSQL's are: they would hold on to its memory.
    descendants = _descendants(process.pid)
    _kill_group(process.pid)
    for member in descendants:
        with contextlib.suppress(ProcessLookupError):
            os.kill(member.pid, signal.SIGKILL)
    await asyncio.to_thread(process.wait)
    await until(lambda: not any(member.alive for member in descendants))


async def terminate(target: ProcessId, stopping: Stopping) -> None:
    """End a process that is not a child of this one, if it is still the same."""
    if not target.alive:
        return
    send_signal(target.pid, stopping.signal)
    if not await until(lambda: not target.alive, stopping.seconds):
        _kill_group(target.pid)
        await until(lambda: not target.alive)


def find_marked(root: Path) -> tuple[ProcessId, ...]:
    """Find the processes that carry the marker of this root's stack.

    Only Linux shows other processes' environments; elsewhere the remembered pids must do.
    """
    mark = f"{MARKER}={root}".encode()
    found: list[ProcessId] = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in entry.read_bytes().split(b"\0"):
                found.append(ProcessId.of(int(entry.parent.name)))
    return tuple(process for process in found if process.began)


def command_line(pid: int) -> str:
    """Return what a process was started with; empty when there is none."""
    shown = subprocess.run(
        ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    return shown.stdout.strip()


def describe_exit(status: int) -> str:
    """Say how a process ended: `exited with status 1`, `was killed by SIGKILL`."""
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"exited with status {status}"


def _environment(command: Command) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    # gRPC and HTTP clients would send calls to our own addresses through the caller's proxy.
    bypass = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    bypass = f"{bypass},{_LOOPBACK}" if bypass else _LOOPBACK
    return inherited | {"NO_PROXY": bypass, "no_proxy": bypass} | dict(command.environment)


def _parent_death_prefix(dies_with_parent: bool) -> tuple[str, ...]:  # noqa: FBT001 - private, one caller
    setpriv = shutil.which("setpriv")
    if not dies_with_parent or setpriv is None or sys.platform != "linux":
        return ()
    return (setpriv, "--pdeathsig", "INT", "--")


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _descendants(pid: int) -> tuple[ProcessId, ...]:
    shown = subprocess.run(
        ["/bin/ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=False
    )
    parents = {
        int(child): int(parent) for child, parent in map(str.split, shown.stdout.splitlines())
    }
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return tuple(ProcessId.of(child) for child in found - {pid})


def _began(pid: int) -> str | None:
    """When a process began, in units of the system; None when it has ended."""
    if sys.platform != "linux":
        return _began_by_ps(pid)
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field is the name in parentheses and may itself contain spaces and parentheses.
    fields = status.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def _began_by_ps(pid: int) -> str | None:
    shown = subprocess.run(
        ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return None if not shown or shown.startswith("Z") else shown.partition(" ")[2].strip()
