"""The text of a piece of work's model call, from llm-gateway to whoever watches it.

It is neither kept nor read here: llm-gateway sends what it receives, and what it has stored.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from runs.domain.events import Heartbeat, StepText
from runs.domain.plan import Plan
from runs.domain.runs import Run
from runs.errors import RunNotFound, StepNotFound
from runs.store import pipelines, runs, steps

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from dataplane.tenants import TenantPools
    from runs.api.watch import RunWatcher
    from runs.domain.activities import StepRef
    from runs.domain.events import RunEvent
    from runs.domain.steps import RunStep
    from runs.peers.llm_gateway import LlmGateway

T = TypeVar("T")

_HEARTBEAT_SECONDS = 10.0
_FIRST_SECONDS, _LONGEST_SECONDS = 0.2, 2.0
"""Between two looks at a step that runs and has no call in flight, such as between two attempts."""


class StepTextWatcher:
    """Watches the texts of steps, in whichever process of llm-gateway they arrive."""

    def __init__(
        self,
        tenants: TenantPools,
        watcher: RunWatcher,
        gateway: LlmGateway,
        heartbeat_seconds: float = _HEARTBEAT_SECONDS,
    ) -> None:
        self._tenants = tenants
        self._watcher = watcher
        self._gateway = gateway
        self._heartbeat_seconds = heartbeat_seconds

    async def watch(
        self, ref: StepRef, offset: int, attempt: int
    ) -> AsyncGenerator[StepText | RunStep | Heartbeat]:
        """Yield a step's text from `offset` of an attempt on, then the step once it is done.

        Raises RunNotFound, StepNotFound where the run ends without such a step, and Unavailable.
        """
        parts = _beating(self._parts(ref, offset, attempt), self._heartbeat_seconds)
        async with aclosing(parts):
            async for part in parts:
                yield part

    async def _parts(
        self, ref: StepRef, offset: int, attempt: int
    ) -> AsyncGenerator[StepText | RunStep]:
        run = await self._find_run(ref)
        events = self._watcher.watch(ref.tenant_id, run.run_id, run.last_sequence)
        pause = _FIRST_SECONDS
        async with _Changes.followed(events, ref) as changes:
            while True:
                over = changes.begin()
                step = await self._find_step(ref)
                if step is None and over:
                    why = f"the run ended without {ref} in its visit {ref.visit}"
                    raise StepNotFound(ref.run_id, ref.step, why)
                if step is not None:
                    texts = self._gateway.watch_call(ref, step.call, offset, attempt)
                    async with aclosing(texts):
                        async for text in texts:
                            offset, attempt = text.offset + len(text.text), text.attempt
                            pause = _FIRST_SECONDS
                            yield text
                    if step.status.final:
                        yield step
                        return
                await changes.wait(None if step is None else pause)
                pause = min(2 * pause, _LONGEST_SECONDS)

    async def _find_run(self, ref: StepRef) -> Run:
        """Return the run. Raises RunNotFound, and StepNotFound if its pipeline has no such step.

        Which nodes a graph has, only its worker knows.
        """
        async with self._tenants.connection(ref.tenant_id) as connection:
            run = await runs.find(connection, ref.run_id)
            if run is None:
                raise RunNotFound(ref.run_id)
            facts = await pipelines.facts(connection, run.pipeline, run.pipeline_version)
        if facts is not None and ref.step not in facts.steps and not Plan.parse(facts.plan).graph:
            why = f"pipeline {run.pipeline} has no step {ref.step}"
            raise StepNotFound(ref.run_id, ref.step, why)
        return run

    async def _find_step(self, ref: StepRef) -> RunStep | None:
        async with self._tenants.connection(ref.tenant_id) as connection:
            return await steps.find_latest(connection, ref)


class _Changes:
    """Tells when a step, or its run, has changed its state."""

    def __init__(self, ref: StepRef) -> None:
        self._ref = ref
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None]

    @classmethod
    @asynccontextmanager
    async def followed(
        cls, events: AsyncGenerator[RunEvent | Heartbeat], ref: StepRef
    ) -> AsyncGenerator[_Changes]:
        """Follow a run's events inside the block."""
        changes = cls(ref)
        changes._task = asyncio.create_task(changes._follow(events))
        try:
            yield changes
        finally:
            changes._task.cancel()
            await asyncio.wait({changes._task})

    def begin(self) -> bool:
        """Forget what has changed; return whether the run is over. Raises what a watch raises."""
        self._changed.clear()
        if not self._task.done():
            return False
        self._task.result()
        return True

    async def wait(self, seconds: float | None) -> None:
        """Wait for a change, at most so long."""
        if self._task.done():
            return
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def _follow(self, events: AsyncGenerator[RunEvent | Heartbeat]) -> None:
        try:
            async with aclosing(events):
                async for part in events:
                    if isinstance(part, Heartbeat) or isinstance(part.subject, Run):
                        continue
                    step = part.subject
                    if (step.step, step.item, step.visit) == _key(self._ref):
                        self._changed.set()
        finally:
            self._changed.set()


def _key(ref: StepRef) -> tuple[str, int, int]:
    return ref.step, ref.item, ref.visit


async def _beating(source: AsyncGenerator[T], seconds: float) -> AsyncGenerator[T | Heartbeat]:
    """Yield what comes, and a heartbeat whenever nothing has come for so long."""
    coming = asyncio.ensure_future(anext(source, None))
    try:
        while True:
            await asyncio.wait({coming}, timeout=seconds)
            if not coming.done():
                yield Heartbeat(0)
                continue
            part = coming.result()
            if part is None:
                return
            yield part
            coming = asyncio.ensure_future(anext(source, None))
    finally:
        coming.cancel()
        await asyncio.wait({coming})
        await source.aclose()
