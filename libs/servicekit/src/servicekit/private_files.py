"""Files that hold secrets: who else may read them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_OTHERS = 0o077
_OTHERS_BUT_READING_GROUP = 0o037
_OTHERS_WRITE = 0o022
_IN_MEMORY = ("tmpfs", "ramfs")
_MOUNTS = Path("/proc/self/mountinfo")


def check_private(path: Path) -> None:
    """Raise ValueError where others than its owner may read or change a file.

    A file of root may be read by its group, as PostgreSQL has it for keys. It may be read by all
    where it is mounted in memory, read-only: so Kubernetes, Docker Swarm and systemd hand a process
    its secrets, and the mount decides who sees them.
    """
    found = path.stat()
    others = found.st_mode & _OTHERS
    if not others:
        return
    is_of_root = found.st_uid == 0
    if is_of_root and not others & _OTHERS_BUT_READING_GROUP:
        return
    if is_of_root and not others & _OTHERS_WRITE and _is_mounted_in_memory(path, found.st_dev):
        return
    raise ValueError("others may read it: chmod 600 it")


def read_secret(path: Path) -> str:
    """Return a private file's text without the newline at its end. Raises ValueError, OSError."""
    check_private(path)
    try:
        text = path.read_text("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:  # whose words quote the file
        raise ValueError("it holds no text") from None
    if not text:
        raise ValueError("it is empty")
    return text


def _is_mounted_in_memory(path: Path, device: int) -> bool:
    if not os.statvfs(path).f_flag & os.ST_RDONLY:
        return False
    number = f"{os.major(device)}:{os.minor(device)}"
    with suppress(OSError):  # not on Linux
        for line in _MOUNTS.read_text().splitlines():
            mount, _, kind = line.partition(" - ")  # proc_pid_mountinfo(5)
            if mount.split()[2] == number:
                return kind.split()[0] in _IN_MEMORY
    return False
