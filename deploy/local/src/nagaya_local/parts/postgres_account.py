"""The user the PostgreSQL server runs as: it refuses root.

An ordinary user runs it as themselves. Root runs it in a user namespace, where root's own files
belong to an ordinary number, so a clone in a private folder works and nothing is created. Where
namespaces are forbidden (many containers), an existing unprivileged user runs it, from a folder of
its own outside the clone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from nagaya_local.errors import PreflightFailed
from nagaya_local.machine import processes
from nagaya_local.machine.processes import ProcessId
from nagaya_local.parts.wheels import packaged_binaries

_NAMESPACE = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--")
_CANDIDATES = ("postgres", "nobody", "daemon")


@dataclass(frozen=True, slots=True)
class ServerAccount:
    """The account, the folder its files lie in, and the binaries it can execute."""

    folder: Path
    binaries: Path
    prefix: tuple[str, ...] = ()
    user: str | None = None

    @classmethod
    def choose(cls, folder: Path) -> ServerAccount:
        """Choose for files in `folder`. Raises PreflightFailed when root has no way."""
        if os.geteuid() != 0:
            _require_account()
            return cls(folder, packaged_binaries())
        binaries = packaged_binaries()
        if can_unshare(binaries, folder):
            return cls(folder, binaries, prefix=_NAMESPACE)
        user = _unprivileged_user()
        private = _private_folder(folder, user)
        return cls(private, private / "wheel" / "pginstall18" / "bin", user=user)

    @property
    def can_syncfs(self) -> bool:
        return sys.platform == "linux"

    def argv(self, program: str, *arguments: str) -> tuple[str, ...]:
        return (*self.prefix, str(self.binaries / program), *arguments)

    def prepare(self) -> None:
        """Make the folder, and for another user its own copy of the binaries."""
        if self.user is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            return
        _make_private(self.folder, self.user)
        if not self.binaries.exists():
            _copy_wheel(self.folder)

    def write(self, path: Path, text: str) -> None:
        """Write a file only the account can read."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            if self.user is not None:
                account = pwd.getpwnam(self.user)
                os.fchown(file.fileno(), account.pw_uid, account.pw_gid)
            file.write(text)


def running_server(data: Path) -> ProcessId | None:
    """Return the server that works on a data directory, if there is one."""
    pid_file = data / "postmaster.pid"
    if not pid_file.exists():
        return None
    pid = int(pid_file.read_text().split()[0])
    return ProcessId.of(pid) if str(data) in processes.command_line(pid) else None


def can_unshare(binaries: Path, folder: Path) -> bool:
    """Whether a namespace can be had, and from inside it the binaries and the folder be reached.

    There root has lost its power over other people's folders: in a clone of somebody else's,
    as under sudo, it cannot enter.
    """
    if shutil.which("unshare") is None:
        return False
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    reach = ("test", "-x", str(binaries / "postgres"), "-a", "-w", str(there))
    return subprocess.run([*_NAMESPACE, *reach], capture_output=True, check=False).returncode == 0


def _require_account() -> None:
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        raise PreflightFailed(
            f"user {os.geteuid()} has no entry in /etc/passwd, and PostgreSQL refuses to run so",
            "Run the stack as a user who has one, or set NAGAYA_PG_URL.",
        ) from None


def _unprivileged_user() -> str:
    for name in (os.environ.get("SUDO_USER", ""), *_CANDIDATES):
        try:
            if name and pwd.getpwnam(name).pw_uid != 0:
                return name
        except KeyError:
            continue
    raise PreflightFailed(
        "PostgreSQL refuses to run as root, and there is no other user to run it as",
        "Run the stack as an ordinary user, or set NAGAYA_PG_URL.",
    )


def _private_folder(folder: Path, user: str) -> Path:
    digest = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
    # Kept over a restart of the machine, unlike /tmp; _make_private trusts nothing it finds there.
    shared = Path("/var/tmp")  # noqa: S108
    return shared / f"nagaya-{user}-{digest}"


def _make_private(folder: Path, user: str) -> None:
    """Make a folder of the user's where everybody may write, trusting none that lies there."""
    account = pwd.getpwnam(user)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        os.chown(folder, account.pw_uid, account.pw_gid, follow_symlinks=False)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != account.pw_uid or found.st_mode & 0o077:
        raise PreflightFailed(
            f"{folder} is not a private folder of {user}", "Remove it, or set NAGAYA_PG_URL."
        )


def _copy_wheel(folder: Path) -> None:
    """Copy the server where an account can reach it that cannot enter the clone."""
    install = packaged_binaries().parent
    draft = folder / "wheel.making"
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(install, draft / install.name, symlinks=True)
    libraries = install.parent.with_name(f"{install.parent.name}.libs")
    if libraries.exists():  # the binaries look for them two folders up
        shutil.copytree(libraries, folder / libraries.name, symlinks=True, dirs_exist_ok=True)
    draft.rename(folder / "wheel")
