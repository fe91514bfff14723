"""Ports that the stack listens on."""

from __future__ import annotations

import hashlib
import json
import random
import socket
from functools import cache
from typing import TYPE_CHECKING

from nagaya_local.machine import files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

# Below the range from which systems take ports for outgoing connections (32768 on Linux), so that
# a port which was free when probed is not taken by somebody's client a moment later.
_FIRST, _LAST = 20_000, 32_000
_FIRST_OF_TESTS = 10_000
_BLOCK = 40
_BLOCK_OF_TESTS = 250  # so that a process comes to no port twice: gRPC remembers who was there


class Block:
    """Neighbouring ports that no other process is given while this one has them.

    A part listens on its port some time after it got it, so that nobody listens there tells too
    little. Whoever has a block has bound its last port.
    """

    def __init__(self, number: int, ports: range, bound: socket.socket) -> None:
        self.number = number
        self.ports = ports
        self._bound = bound

    @classmethod
    def take(cls, wanted: int, size: int, first: int, last: int) -> Block:
        """Take a block of so many ports between two ports: this one, or the next that is left.

        Raises OSError when none is.
        """
        blocks = (last - first) // size
        for number in (n % blocks for n in range(wanted, wanted + blocks)):
            end = first + (number + 1) * size - 1
            bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            try:
                bound.bind(("127.0.0.1", end))
            except OSError:
                bound.close()
            else:
                return cls(number, range(end + 1 - size, end), bound)
        raise OSError(f"each block of {size} ports from {first} to {last} is another process's")

    def close(self) -> None:
        """Leave the ports to others."""
        self._bound.close()


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
    """Return a port that is free now, and that nobody else is given before it is listened on."""
    return next(port for port in _own_ports() if is_free(port))


@cache
def _own_ports() -> Iterator[int]:
    """Return the ports of this process, one after another, over and over."""
    wanted = random.randrange(_FIRST)  # noqa: S311 - no secret
    return _repeated(Block.take(wanted, _BLOCK_OF_TESTS, _FIRST_OF_TESTS, _FIRST))


def _repeated(block: Block) -> Iterator[int]:
    while True:
        yield from block.ports


class PortBook:
    """The stack's ports, remembered in a file so that addresses survive restarts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        text = path.read_text() if path.exists() else "{}"
        self._known: dict[str, int] = json.loads(text)
        self._block: Block | None = None

    @property
    def known(self) -> dict[str, int]:
        """The ports as they were the last time, by name."""
        return dict(self._known)

    def assign(self, names: Sequence[str]) -> tuple[dict[str, int], tuple[str, ...]]:
        """Give every name its remembered port if that is free, else the next free one.

        Call it once, and only while nothing of this stack runs; nobody else is given the ports
        until `close`. Returns the ports and a sentence for every port that had to change.
        """
        wanted = self._own_block()
        block = self._block = Block.take(wanted, _BLOCK, _FIRST, _LAST)
        ports: dict[str, int] = {}
        moved: list[str] = []
        for name in names:
            known = self._known.get(name)
            if known is None or block.number != wanted or not is_free(known):
                others = {*self._known.values(), *ports.values()}
                port = next(one for one in block.ports if one not in others and is_free(one))
                if known is not None:
                    moved.append(f"port {known} of {name} is taken by another process: now {port}")
                self._known[name] = port
            ports[name] = self._known[name]
        files.write_private(self._path, json.dumps(self._known, indent=2) + "\n")
        return ports, tuple(moved)

    def close(self) -> None:
        """Leave the ports to others."""
        if self._block is not None:
            self._block.close()

    def _own_block(self) -> int:
        """Return the number of the block that this clone has had, or prefers to others."""
        blocks = (_LAST - _FIRST) // _BLOCK
        if self._known:
            return (min(self._known.values()) - _FIRST) // _BLOCK % blocks
        return int.from_bytes(hashlib.sha256(str(self._path).encode()).digest()[:4], "big") % blocks
