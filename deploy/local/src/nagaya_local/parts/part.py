"""A part of the stack: its program, what it needs first, and a remedy for a failed start."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nagaya_local.machine.programs import Command, Stopping

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from nagaya_local.machine.programs import Program


@dataclass(frozen=True, slots=True)
class Part:
    """A process of the stack, embedded or external."""

    name: str
    program: Program
    address: str = ""
    """Where it is reached, for people."""
    needs: tuple[str, ...] = ()
    """The parts that must be ready before this one is started for the first time."""
    uses: tuple[str, ...] = ()
    """The parts that it calls while it works: it is stopped before them, so that it can finish.

    It starts without them: services come up in any order.
    """
    finishes: str = ""
    """What it brings to an end when it is told to stop, for people who wait."""
    ready_seconds: float = 60.0
    hang_seconds: float = 30.0
    """How long it may not respond until it is killed and started again.

    A machine under load makes a healthy part late by seconds; a person waits for half a minute.
    """
    remedy: str = ""


class External:
    """A program that somebody else runs: it is only asked whether it is there."""

    stopping = Stopping()

    def __init__(self, ask: Callable[[], Awaitable[None]]) -> None:
        self._ask = ask

    async def prepare(self) -> None:
        pass

    def command(self) -> Command | None:
        return None

    async def probe(self) -> None:
        await self._ask()


def select(parts: Sequence[Part], names: Collection[str]) -> tuple[Part, ...]:
    """Choose parts by name, all when none is named; what is left out is not needed either."""
    chosen = set(names) or {part.name for part in parts}

    def left(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if name in chosen)

    return tuple(
        replace(part, needs=left(part.needs), uses=left(part.uses))
        for part in parts
        if part.name in chosen
    )


def start_order(parts: Sequence[Part]) -> tuple[tuple[Part, ...], ...]:
    """Group parts: every part's needs lie in the groups before it.

    Raises ValueError when they need each other in a circle, or a part that is not there.
    """
    groups: list[tuple[Part, ...]] = []
    placed: set[str] = set()
    left = list(parts)
    while left:
        group = tuple(part for part in left if placed.issuperset(part.needs))
        if not group:
            raise ValueError("needs cannot be met: " + ", ".join(part.name for part in left))
        groups.append(group)
        placed.update(part.name for part in group)
        left = [part for part in left if part.name not in placed]
    return tuple(groups)


def stop_order(parts: Sequence[Part]) -> tuple[tuple[Part, ...], ...]:
    """Group parts: whoever needs or uses a part lies in a group before it.

    Raises ValueError as `start_order` does.
    """
    by_name = {part.name: part for part in parts}
    groups = start_order([replace(part, needs=(*part.needs, *part.uses)) for part in parts])
    return tuple(tuple(by_name[part.name] for part in group) for group in reversed(groups))
