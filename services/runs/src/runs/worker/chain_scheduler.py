"""Schedules the activities that walk the chains of a run's plan, loops and questions among them.

It is code of the workflow, and as deterministic: see `workflows`.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from temporalio import workflow
from temporalio.exceptions import FailureError
from temporalio.exceptions import is_cancelled_exception as is_cancelled

from runs.domain.activities import RunRef, Walk
from runs.domain.chains import RepeatedChains
from runs.worker.activities.walk import WalkActivities
from runs.worker.activity_calls import ActivityCalls
from runs.worker.graph import run_chains
from runs.worker.scheduling import (
    BEGIN_TIMEOUT,
    MAX_ITEMS_AT_ONCE,
    TIMEOUT_MARGIN,
    gather_or_cancel,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runs.domain.chains import Chain

LANE_ELEMENTS = 10
"""How many elements of a map that are not short an activity does at once."""

LANE_SIZE = 200
"""The most elements that one of them does."""

CHUNK_ELEMENTS = 25
"""How many short ones a local activity does at once."""

_CHUNKS_AT_ONCE = 4
_CHUNKS = 40
CHUNK_SIZES = range(20, 100)
"""How many short steps a local activity does: more of a longer list, so that there are few."""

_LONGEST_WALK = timedelta(days=3_650)


@dataclass(slots=True)
class Decisions:
    """What the workflow knows of decisions of people: the rest stands in the database."""

    count: int = 0
    """How often it was to look there."""


class ChainScheduler:
    """Schedules the activities of one run's chains."""

    def __init__(
        self,
        run: RunRef,
        of: Sequence[Chain | RepeatedChains],
        version: int,
        decisions: Decisions,
    ) -> None:
        self._run = run
        self._calls = ActivityCalls(version)
        self._chains = of
        self._decisions = decisions
        self._open = {chain.name for chain in of}
        self._first_alone = sum(not chain.needs for chain in of) == 1
        self._recorded = False
        self.failed_loop: tuple[str, int] | None = None
        """The last step of a loop that failed at the end of a visit, and the visit."""

    async def run(self) -> bool:
        """Run all chains; return whether it is recorded already that the run has completed."""
        await run_chains(self._chains, self._run_node)
        if not self._recorded:
            self._calls.raise_if_cancelled()
        return self._recorded

    async def retry(self, step: str, item: int) -> None:
        """Do what is to be retried of a step, or of one of its elements, before all that is left.

        What else has failed stays so, and fails the run again: that is to come afterwards. Of a
        step in a loop all visits are gone through; what is done in them takes no time.
        """
        for node in self._chains:
            inside = node.chains if isinstance(node, RepeatedChains) else (node,)
            if step not in {each.step for chain in inside for each in chain.steps}:
                continue
            if isinstance(node, RepeatedChains):
                await self._run_visits(node)
                continue
            walk = self._walk_of(node)
            if node.asks:
                await run_question(self._calls, self._decisions, walk)
            elif not node.mapped:
                await self._walk(node, walk)
            elif item:
                await self._walk(node, replace(walk, first=item, last=item))
            else:
                await self._run_elements(node, walk)
        self._calls.raise_if_cancelled()

    def _walk_of(self, chain: Chain, visit: int = 0) -> Walk:
        names = [step.step for step in chain.steps]
        run = self._run
        return Walk(run.tenant_id, run.run_id, run.epoch, names, short=chain.short, visit=visit)

    async def _run_node(self, node: Chain | RepeatedChains) -> None:
        if isinstance(node, RepeatedChains):
            await self._run_visits(node)
            self._open.discard(node.name)
            self._calls.raise_if_cancelled()
        else:
            await self._run_chain(node)

    async def _run_visits(self, loop: RepeatedChains) -> None:
        """Run the chains of a loop until an activity says that it is left."""
        run = self._run
        end = Walk(run.tenant_id, run.run_id, run.epoch, [loop.name])
        again = True
        while again:
            self._calls.raise_if_cancelled()
            end = replace(end, visit=end.visit + 1)
            await run_chains(loop.chains, partial(self._run_chain, visit=end.visit))
            self._calls.raise_if_cancelled()
            again = await self._end_visit(end)

    async def _end_visit(self, end: Walk) -> bool:
        """End a visit of a loop; return whether there is another one."""
        try:
            ended = await self._calls.run(
                f"end {end.name}", WalkActivities.end_visit, end, BEGIN_TIMEOUT
            )
        except FailureError as error:
            if not is_cancelled(error):
                self.failed_loop = (end.steps[0], end.visit)
            raise
        return ended.again

    async def _run_chain(self, chain: Chain, visit: int = 0) -> None:
        """Run a chain; `visit` is the pass of its loop, 0 where it is in none."""
        self._calls.raise_if_cancelled()
        alone = not visit and not chain.asks
        walk = replace(
            self._walk_of(chain, visit),
            begins_run=alone and self._first_alone and not chain.needs,
            completes_run=alone and self._open == {chain.name},
        )
        completed = True
        if chain.asks:
            await run_question(self._calls, self._decisions, walk)
        elif chain.mapped:
            completed = await self._run_map(chain, walk)
        else:
            await self._walk(chain, walk)
        if not visit:
            self._open.discard(chain.name)
        self._recorded = completed and walk.completes_run
        if not self._recorded:
            self._calls.raise_if_cancelled()

    async def _run_map(self, chain: Chain, walk: Walk) -> bool:
        """Run a chain of mapped steps; return whether they were not skipped."""
        if not await self._run_elements(chain, walk):
            return False
        await self._calls.run(f"close {walk.name}", WalkActivities.close_maps, walk, TIMEOUT_MARGIN)
        return True

    async def _run_elements(self, chain: Chain, walk: Walk) -> bool:
        """Open mapped steps and do their elements; return whether they were not skipped."""
        mapped = await self._calls.run(
            f"open {walk.name}",
            WalkActivities.open_maps,
            replace(walk, completes_run=False),
            BEGIN_TIMEOUT,
        )
        self._calls.raise_if_cancelled()
        if mapped.skipped:
            return False
        elements = replace(walk, begins_run=False, completes_run=False)
        if chain.short:
            await self._run_chunks(chain, elements, mapped.count)
        else:
            await self._run_lanes(chain, elements, mapped.count)
        self._calls.raise_if_cancelled()
        return True

    async def _run_chunks(self, chain: Chain, walk: Walk, count: int) -> None:
        steps = min(max(count * len(chain.steps) // _CHUNKS, CHUNK_SIZES.start), CHUNK_SIZES.stop)
        parts = _parts(walk, count, max(1, steps // len(chain.steps)))
        chunks = _CHUNKS_AT_ONCE
        if chain.parallel:
            chunks = max(1, min(chunks, chain.parallel // CHUNK_ELEMENTS))
            at_once = min(CHUNK_ELEMENTS, chain.parallel // chunks)
            parts = [replace(part, at_once=at_once) for part in parts]
        await self._walk_all(chain, parts, chunks)

    async def _run_lanes(self, chain: Chain, walk: Walk, count: int) -> None:
        lanes = -(-(chain.parallel or MAX_ITEMS_AT_ONCE) // LANE_ELEMENTS)
        if chain.parallel:
            walk = replace(walk, at_once=chain.parallel // lanes)
        size = min(max(-(-count // lanes), walk.at_once or LANE_ELEMENTS), LANE_SIZE)
        await self._walk_all(chain, _parts(walk, count, size), lanes)

    async def _walk_all(self, chain: Chain, parts: Sequence[Walk], at_once: int) -> None:
        slots = asyncio.Semaphore(at_once)
        # Several lanes are for several workers, a local activity is for this one.
        local = chain.short or len(parts) == 1

        async def walk(part: Walk) -> None:
            async with slots:
                await self._walk(chain, part, local=local)

        await gather_or_cancel([walk(part) for part in parts])

    async def _walk(self, chain: Chain, walk: Walk, *, local: bool = True) -> None:
        seconds = sum(step.timeout_seconds * step.max_attempts for step in chain.steps)
        elements = walk.last - walk.first + 1
        longest = min(timedelta(seconds=seconds) * elements + BEGIN_TIMEOUT, _LONGEST_WALK)
        await self._calls.run(walk.name, WalkActivities.walk, walk, longest, local=local)


def _parts(walk: Walk, count: int, size: int) -> list[Walk]:
    """Divide the elements of a list evenly, each part of at most so many."""
    parts = -(-count // size)
    return [
        replace(walk, first=part * count // parts + 1, last=(part + 1) * count // parts)
        for part in range(parts)
    ]


async def run_question(calls: ActivityCalls, decisions: Decisions, walk: Walk) -> None:
    """Wait until a person has decided, or the time to do so is up."""
    while True:
        seen = decisions.count
        walked = await calls.run(
            f"ask {walk.name}", WalkActivities.walk_approval, walk, BEGIN_TIMEOUT
        )
        calls.raise_if_cancelled()
        if not walked.waiting:
            return
        longest = timedelta(milliseconds=walked.wait_ms) if walked.wait_ms else None
        with suppress(TimeoutError):
            await workflow.wait_condition(partial(_has_more, decisions, seen), timeout=longest)


def _has_more(decisions: Decisions, seen: int) -> bool:
    return decisions.count != seen
