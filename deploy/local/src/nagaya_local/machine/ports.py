"""Ports that the stack listens on."""

from __future__ import annotations

import hashlib
import json
import random
import socket
from typing import TYPE_CHECKING

from nagaya_local.machine import files

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# Below the range from which systems take ports for outgoing connections (32768 on Linux), so that
# a port which was free when probed is not taken by somebody's client a moment later.
_FIRST, _LAST = 20_000, 32_000
_FIRST_OF_TESTS = 10_000
_BLOCK = 40


def is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:`port` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port of connections just closed (TIME_WAIT) can be listened on.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a port that is free now, at random: two test runs at once do not meet."""
    while True:
        port = random.randrange(_FIRST_OF_TESTS, _FIRST)  # noqa: S311 - no secret
        if is_free(port):
            return port


class PortBook:
    """The stack's ports, remembered in a file so that addresses survive restarts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        text = path.read_text() if path.exists() else "{}"
        self._known: dict[str, int] = json.loads(text)

    @property
    def known(self) -> dict[str, int]:
        """The ports as they were the last time, by name."""
        return dict(self._known)

    def assign(self, names: Sequence[str]) -> tuple[dict[str, int], tuple[str, ...]]:
        """Give every name its remembered port if that is free, else the next free one.

        Call it only while nothing of this stack runs. Returns the ports and a sentence for every
        port that had to change.
        """
        ports: dict[str, int] = {}
        moved: list[str] = []
        for offset, name in enumerate(names):
            wanted = self._known.get(name, self._first_choice(offset))
            others = {port for other, port in self._known.items() if other != name}
            port = _next_free(wanted, others)
            if name in self._known and port != wanted:
                moved.append(f"port {wanted} of {name} is taken by another process: now {port}")
            self._known[name] = ports[name] = port
        files.write_private(self._path, json.dumps(self._known, indent=2) + "\n")
        return ports, tuple(moved)

    def _first_choice(self, offset: int) -> int:
        # Every clone has a block of its own, so that two stacks started at once do not race.
        digest = hashlib.sha256(str(self._path).encode()).digest()
        blocks = (_LAST - _FIRST) // _BLOCK
        return _FIRST + int.from_bytes(digest[:4], "big") % blocks * _BLOCK + offset


def _next_free(wanted: int, taken: set[int]) -> int:
    port = wanted
    while port in taken or not is_free(port):
        port = port + 1 if port < _LAST else _FIRST
    return port
