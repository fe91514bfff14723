"""Steps: begin an attempt, do the work, record how it went."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from temporalio import activity

from jsonvalues import canonical
from runs.activities.edge import told
from runs.activities.moves import StepMoves
from runs.activities.patience import patiently
from runs.conditions import holds
from runs.domain.failures import ReadTooLarge, RunClosed, StepFailed, StepImpossible
from runs.domain.outputs import BYTES_AT_ONCE, MAP_LIMIT, OUTPUT, FileDraft, parsed
from runs.domain.pipelines import LlmStep
from runs.domain.steps import StepStatus
from runs.domain.work import Listing, StepResult, Work
from runs.store.moves import MoveStore
from runs.store.outcomes import Outcome
from servicekit.call import on_behalf_of

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools
    from runs.activities.beginnings import Beginnings
    from runs.activities.errors import ErrorFiles
    from runs.activities.function import FunctionSteps
    from runs.activities.llm import LlmSteps
    from runs.activities.setups import Setup
    from runs.activities.sources import SourceFinder, Sources
    from runs.domain.pipelines import StepSpec
    from runs.domain.runs import OutputFile
    from runs.domain.steps import RunStep
    from runs.peers.artifacts import Artifacts
    from runs.store.moves import Attempt
    from runs.store.steps import StepStore

_MOST_LOST = 20
"""A piece of work that ends its worker this often is given up."""


class StepActivities:
    def __init__(
        self,
        tenants: TenantPools,
        beginnings: Beginnings,
        steps: StepStore,
        sources: SourceFinder,
        artifacts: Artifacts,
        llm: LlmSteps,
        functions: FunctionSteps,
        errors: ErrorFiles,
    ) -> None:
        self._tenants = tenants
        self._beginnings = beginnings
        self._steps = steps
        self._moves = StepMoves(tenants, MoveStore())
        self._sources = sources
        self._artifacts = artifacts
        self._llm = llm
        self._functions = functions
        self._errors = errors

    @activity.defn
    async def run_step(self, work: Work) -> StepResult:
        """Do a piece of work, unless it is done: then return what it left behind."""
        setup = await self._setup(work)
        spec = setup.spec.step(work.step)
        with on_behalf_of(tenant_id=work.tenant_id, user_id=setup.run.user_id):
            attempt = await patiently(lambda: self._moves.begin(work))
            if attempt is None:
                return await self._settled(work)
            outcome = await self._attempt(setup, spec, work, attempt)
            if not await patiently(lambda: self._complete(work, attempt, outcome)):
                return await self._settled(work)
            return _result(outcome)

    @activity.defn
    async def run_short_step(self, work: Work) -> StepResult:
        """Do a piece of work that may be done twice without harm, and record it at once."""
        setup = await self._setup(work)
        spec = setup.spec.step(work.step)
        with on_behalf_of(tenant_id=work.tenant_id, user_id=setup.run.user_id):
            try:
                outcome = await self._perform(setup, spec, work)
            except Exception as error:
                attempt = await patiently(lambda: self._moves.begin(work))
                if attempt is None:
                    return await self._settled(work)
                raise await self._failed(spec, work, attempt, error) from None
            if not await patiently(lambda: self._complete_at_once(work, outcome)):
                return await self._settled(work)
            return _result(outcome)

    @activity.defn
    async def open_map(self, work: Work) -> Listing:
        """Begin a mapped step: return how long its list is."""
        setup = await self._setup(work)
        spec = setup.spec.step(work.step)
        with on_behalf_of(tenant_id=work.tenant_id, user_id=setup.run.user_id):
            attempt = await patiently(lambda: self._moves.begin(work))
            if attempt is None and (await self._settled(work)).output_path == "":
                return Listing(skipped=True)
            if attempt is None:
                return await self._list(await self._find_sources(setup, spec, work), work)
            try:
                sources = await patiently(lambda: self._find_sources(setup, spec, work))
                if not _wanted(spec, sources):
                    await patiently(lambda: self._complete(work, attempt, Outcome()))
                    return Listing(skipped=True)
                return await patiently(lambda: self._list(sources, work))
            except Exception as error:
                raise await self._failed(spec, work, attempt, error) from None

    @activity.defn
    async def close_map(self, work: Work) -> StepResult:
        """End a mapped step: its output is the list of its items' outputs."""
        setup = await self._setup(work)
        spec = setup.spec.step(work.step)
        with on_behalf_of(tenant_id=work.tenant_id, user_id=setup.run.user_id):
            async with self._tenants.connection(work.tenant_id) as connection:
                items = await self._steps.items(connection, work.run_id, work.step)
                attempt = await self._steps.current(connection, work)
            if attempt is None:
                return await self._settled(work)
            try:
                outcome = Outcome(await patiently(lambda: self._put_manifest(work, items)))
            except Exception as error:
                attempt = replace(attempt, failed_before=activity.info().attempt - 1)
                raise await self._failed(spec, work, attempt, error) from None
            if not await patiently(lambda: self._complete(work, attempt, outcome)):
                return await self._settled(work)
            return _result(outcome)

    async def _put_manifest(self, work: Work, items: Sequence[OutputFile]) -> OutputFile:
        manifest = {
            "items": [
                {
                    "path": item.output_path,
                    "digest": item.output_digest,
                    "summary": item.summary,
                    "metrics": item.numbers,
                }
                for item in items
            ]
        }
        summary = f"{len(items):,} items"
        metrics = {"items": len(items)}
        draft = FileDraft(work.run_id, work.step, OUTPUT, summary=summary, metrics=metrics)
        data = canonical(manifest)
        if len(data) > BYTES_AT_ONCE:
            raise StepImpossible(
                "OUTPUT_TOO_LARGE",
                f"what names the outputs of {len(items):,} elements takes {len(data):,} bytes, at "
                f"most {BYTES_AT_ONCE:,} are possible: map over fewer",
            )
        return await self._artifacts.put(work.tenant_id, draft, data)

    async def _setup(self, work: Work) -> Setup:
        try:
            return await self._beginnings.setup(work.run)
        except RunClosed:
            raise told(StepImpossible("RUN_CLOSED", "the run is over"), final=True) from None

    async def _complete(self, work: Work, attempt: Attempt, outcome: Outcome) -> bool:
        done = await self._moves.complete(work, attempt, outcome)
        if done:
            self._sources.remember(work, outcome.output)
        return done

    async def _complete_at_once(self, work: Work, outcome: Outcome) -> bool:
        done = await self._moves.complete_at_once(work, outcome)
        if done:
            self._sources.remember(work, outcome.output)
        return done

    async def _attempt(self, setup: Setup, spec: StepSpec, work: Work, attempt: Attempt) -> Outcome:
        try:
            if attempt.lost_before >= _MOST_LOST:
                raise StepImpossible(
                    "WORKER_LOST", f"{_MOST_LOST} attempts were never heard of again"
                )
            return await self._perform(setup, spec, work)
        except Exception as error:
            raise await self._failed(spec, work, attempt, error) from None

    async def _perform(self, setup: Setup, spec: StepSpec, work: Work) -> Outcome:
        async def once() -> Outcome:
            sources = await self._find_sources(setup, spec, work)
            if spec.map is None and not _wanted(spec, sources):
                return Outcome()
            if isinstance(spec.kind, LlmStep):
                async with asyncio.timeout(spec.timeout_seconds):
                    return await self._llm.perform(setup, spec, spec.kind, sources)
            return await self._functions.perform(spec, spec.kind, sources)

        return await patiently(once)

    async def _find_sources(self, setup: Setup, spec: StepSpec, work: Work) -> Sources:
        async with self._tenants.connection(work.tenant_id) as connection:
            return await self._sources.find(connection, setup, spec, work)

    async def _list(self, sources: Sources, work: Work) -> Listing:
        pointer = sources.list_pointer()
        elements = sources.elements()
        if elements is not None:
            return Listing(pointer.digest, len(elements))
        try:
            (data,) = await self._artifacts.read(work.tenant_id, [pointer])
        except ReadTooLarge as error:
            mend = "let its elements name files, which functions write, instead of holding them"
            message = f"{error.why}, too much for a list that a step is mapped over: {mend}"
            raise StepImpossible("LIST_TOO_LARGE", message) from None
        value = parsed(data)
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise StepImpossible("MAP_NOT_A_LIST", f"there is no list at {pointer.json_pointer!r}")
        if len(value) > MAP_LIMIT:
            raise StepImpossible(
                "LIST_TOO_LONG",
                f"the list has {len(value):,} elements, a step is mapped over at most "
                f"{MAP_LIMIT:,}: divide it among several steps or runs",
            )
        return Listing(pointer.digest, len(value))

    async def _failed(
        self, spec: StepSpec, work: Work, attempt: Attempt, error: Exception
    ) -> Exception:
        """Record a failed attempt; return what Temporal is told."""
        failure = await self._errors.failure(work, attempt.attempt, error)
        final = failure.final or attempt.failed_before + 1 >= spec.retry.max_attempts
        asked = final and isinstance(spec.kind, LlmStep)
        spent = await self._llm.spent(work) if asked else None
        await patiently(lambda: self._moves.fail(work, attempt, failure, spent, final=final))
        return told(failure, final=final, failures=attempt.failed_before + 1)

    async def _settled(self, work: Work) -> StepResult:
        """Return what an earlier attempt left behind.

        Temporal is to try again if another attempt is at it: it may be one that was given up, whose
        worker nobody hears any more.
        """

        async def find() -> RunStep | None:
            async with self._tenants.connection(work.tenant_id) as connection:
                return await self._steps.find(connection, work)

        row = await patiently(find)
        if row is not None and row.status is StepStatus.RUNNING:
            replaced = StepFailed("ATTEMPT_REPLACED", "another attempt has taken over")
            raise told(replaced, final=False)
        if row is None or row.status not in (StepStatus.COMPLETED, StepStatus.SKIPPED):
            raise told(StepImpossible("RUN_CLOSED", "the run is over"), final=True)
        return _result(Outcome(row.output))


def _wanted(spec: StepSpec, sources: Sources) -> bool:
    return not spec.when or holds(spec.when, sources.metrics)


def _result(outcome: Outcome) -> StepResult:
    output = outcome.output
    if output is None:
        return StepResult()
    return StepResult(
        output.output_path, output.output_digest, output.summary, dict(output.metrics)
    )
