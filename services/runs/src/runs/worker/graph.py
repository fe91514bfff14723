"""A run's chains of steps as tasks of LangGraph. No other module imports it but `superseded`.

LangGraph's functional API: a task begins at once and awaits those that it needs, so that a branch
never waits for its neighbours, as it does where a graph is walked in supersteps.
"""

# LangGraph leaves type parameters of its methods open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence  # noqa: TC003 - LangGraph reads them
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from langgraph.func import entrypoint, task


class _Node(Protocol):
    """What is run: a chain, or a loop of chains."""

    @property
    def name(self) -> str: ...
    @property
    def needs(self) -> Sequence[str]: ...


N = TypeVar("N", bound=_Node)


@dataclass(frozen=True, slots=True)
class _Graph:
    chains: Sequence[_Node]
    run_chain: Callable[[Any], Awaitable[None]]
    running: list[asyncio.Future[None]] = field(default_factory=list["asyncio.Future[None]"])
    """In the order in which they began, which a replay repeats."""


async def run_chains(chains: Sequence[N], run_chain: Callable[[N], Awaitable[None]]) -> None:
    """Run every chain or loop once all that it needs is done.

    What `run_chain` raises ends it: chains that still run are cancelled and waited for.
    """
    graph = _Graph(chains, run_chain)
    try:
        await _run_all.ainvoke(graph)
    except BaseException:
        for each in graph.running:
            each.cancel()
        await asyncio.gather(*graph.running, return_exceptions=True)
        raise


@entrypoint()
async def _run_all(graph: _Graph) -> int:
    tasks: dict[str, Any] = {}
    for chain in graph.chains:
        tasks[chain.name] = _run_chain(graph, chain, [tasks[name] for name in chain.needs])
        tasks[chain.name].add_done_callback(_note_error)
    await _all(tasks.values())
    return len(tasks)


@task
async def _run_chain(graph: _Graph, chain: _Node, needed: Sequence[asyncio.Future[None]]) -> None:
    await _all(needed)
    running = asyncio.ensure_future(graph.run_chain(chain))
    graph.running.append(running)
    # LangGraph cancels its own tasks more than once, and waits for none.
    await asyncio.shield(running)


async def _all(futures: Collection[asyncio.Future[None]]) -> None:
    """Await all, or the first that fails; do not cancel them when the caller is cancelled."""
    if not futures:
        return
    await asyncio.wait(futures, return_when=asyncio.FIRST_EXCEPTION)
    for each in futures:
        if each.done():
            each.result()


def _note_error(future: asyncio.Future[None]) -> None:
    """Take note of an error: one of several is raised, and asyncio would log the others."""
    if not future.cancelled():
        future.exception()
