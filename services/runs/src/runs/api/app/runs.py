"""Runs: creating and starting.

The tenant's database comes first: the run, its first event and the message to Temporal are one
transaction. Then the message is delivered; if that fails, or this process ends before, a relay
does it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from dataplane import audit
from runs.api.app.pipelines import check_prompts
from runs.api.metrics import run_created
from runs.domain.inputs import input_path
from runs.domain.plan import FIRST_EPOCH, WORKFLOW_VERSION, RunStart
from runs.domain.prompts import ACTIVE
from runs.domain.run_shares import note_nothing
from runs.domain.tenant_limits import usual_limits
from runs.errors import (
    InputInvalid,
    InputMissing,
    PipelineNotFound,
    RequestIdReused,
    RunFinished,
    RunNotFound,
    TemporalUnavailable,
)
from runs.store import outbox, pipelines, prompts, run_transitions, runs
from runs.store.run_demand import MOST
from servicekit.call import current_principal
from servicekit.errors import DomainError, RequestInvalid, Violation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataplane.pending_work_scheduler import PendingWorkScheduler
    from dataplane.pools import Connection
    from dataplane.tenants import TenantPools
    from runs.api.app.install_check import InstallCheck
    from runs.api.app.model_check import ModelCheck
    from runs.api.launcher import Launcher
    from runs.domain.inputs import Pointer
    from runs.domain.pipelines import PipelineSummary
    from runs.domain.run_shares import NoteDemand
    from runs.domain.runs import Run, RunDraft
    from runs.domain.tenant_limits import LimitsOf
    from runs.peers.artifacts import Artifacts

_log = logging.getLogger(__name__)


class Runs:
    """Creates and starts runs."""

    def __init__(
        self,
        tenants: TenantPools,
        scheduler: PendingWorkScheduler,
        artifacts: Artifacts,
        install_check: InstallCheck,
        model_check: ModelCheck,
        launcher: Launcher,
        limits: LimitsOf = usual_limits,
        note_demand: NoteDemand = note_nothing,
    ) -> None:
        self._tenants = tenants
        self._scheduler = scheduler
        self._artifacts = artifacts
        self._install_check = install_check
        self._model_check = model_check
        self._launcher = launcher
        self._limits = limits
        self._note_demand = note_demand

    async def create(self, tenant_id: str, draft: RunDraft) -> Run:
        """Record a run, and start it unless it is held.

        A repeated `request_id` returns what its first call created, or raises RequestIdReused if
        the content differs. Raises PipelineNotFound, PromptUnusable, NotInstalled, ModelUnusable,
        InputInvalid and RequestInvalid.
        """
        try:
            facts, versions = await self._check(tenant_id, draft)
        except DomainError:
            repeated = await self.find_repeated(tenant_id, draft.request_id, draft.digest)
            if repeated is None:
                raise
            return repeated  # what the request refers to has changed since
        return await self.record(tenant_id, draft, facts, versions)

    async def record(
        self,
        tenant_id: str,
        draft: RunDraft,
        facts: PipelineSummary,
        prompt_versions: Mapping[str, int],
    ) -> Run:
        """Record a run that has been checked, and start it unless it is held.

        A repeated `request_id` returns what its first call created, or raises RequestIdReused if
        the content differs.
        """
        await self._scheduler.schedule(tenant_id)
        async with self._tenants.connection(tenant_id) as connection:
            user_id = current_principal().user_id
            task_queue = facts.code_needs.task_queue
            most = self._limits(tenant_id).runs_at_once(task_queue)
            inserted = await runs.insert(connection, draft, facts, prompt_versions, user_id, most)
            if inserted is None:
                found = await runs.find_by_request(connection, draft.request_id)
                return _same(found, draft.request_id, draft.digest)
        created, others = inserted
        if not created.held:
            self._note_demand(tenant_id, task_queue, MOST if created.queued else others + 1)
        run_created(created.pipeline)
        if not created.held and not created.queued:
            await self._launch(tenant_id, created.run_id, facts)
        return created

    async def start(self, tenant_id: str, run_id: str) -> Run:
        """Start a held run whose input has been uploaded; one that was started stays as it is.

        Raises RunNotFound, RunFinished, InputMissing and ModelUnusable.
        """
        async with self._tenants.connection(tenant_id) as connection:
            run = _unfinished(await runs.find(connection, run_id), run_id)
            if not run.held:
                return run
            facts = await _facts(connection, run.pipeline, run.pipeline_version)
            parameters = await runs.find_parameters(connection, run_id)
        path = input_path(self._artifacts.prefix(tenant_id), run.run_id)
        file = await self._artifacts.find(tenant_id, path)
        if file is None:
            raise InputMissing(path)
        await self._model_check.check(
            tenant_id, facts.models, {} if parameters is None else parameters.step_models
        )
        await self._scheduler.schedule(tenant_id)
        async with self._tenants.transaction(tenant_id) as connection:
            task_queue = facts.code_needs.task_queue
            most = self._limits(tenant_id).runs_at_once(task_queue)
            released = await run_transitions.release(connection, run_id, file, task_queue, most)
            if released is None:  # somebody was faster
                return _unfinished(await runs.find(connection, run_id), run_id)
            if not released.queued:
                await outbox.add(connection, run_id, "start")
            await audit.append(connection, "run.start", "run", run.run_id)
        if not released.queued:
            await self._launch(tenant_id, run.run_id, facts)
        return released

    async def find_repeated(self, tenant_id: str, request_id: str, digest: str) -> Run | None:
        """Return what the request created when it was made before. Raises RequestIdReused."""
        async with self._tenants.connection(tenant_id) as connection:
            found = await runs.find_by_request(connection, request_id)
        return None if found is None else _same(found, request_id, digest)

    async def check_pointer(self, tenant_id: str, pointer: Pointer) -> None:
        """Raise InputInvalid unless a pointer's file is committed, with its digest."""
        file = await self._artifacts.find(tenant_id, pointer.path)
        if file is None:
            raise InputInvalid("no file is committed at the pointer's path", path=pointer.path)
        if file.output_digest != pointer.digest:
            raise InputInvalid("the file has another digest than the pointer", path=pointer.path)

    async def _check(
        self, tenant_id: str, draft: RunDraft
    ) -> tuple[PipelineSummary, dict[str, int]]:
        """Return the pipeline's version and each step's prompt's, fixed from now on.

        Raises what `create` does. No connection is held while peers are asked.
        """
        async with self._tenants.connection(tenant_id) as connection:
            facts = await _facts(connection, draft.pipeline, draft.version)
            active = [need for need in facts.prompts if need.version == ACTIVE]
            found = await prompts.facts(connection, active) if active else {}
        _check_choices(draft, facts)
        check_prompts(active, found)  # versions that are named were checked with the pipeline
        versions = {need.step: need.version or found[need.step].version for need in facts.prompts}
        if draft.pointer is not None:
            await self.check_pointer(tenant_id, draft.pointer)
        await self._install_check.check(tenant_id, facts.code_needs)
        await self._model_check.check_lately(tenant_id, facts.models, draft.step_models)
        return facts, versions

    async def _launch(self, tenant_id: str, run_id: str, facts: PipelineSummary) -> None:
        """Start the workflow, or let a relay do it. Its message is removed once the run begins.

        Where a tenant's runs start at a limited rate, relays alone start them.
        """
        if self._limits(tenant_id).starts_per_minute:
            return
        try:
            start = RunStart(tenant_id, run_id, FIRST_EPOCH, facts.plan, WORKFLOW_VERSION)
            await self._launcher.start(start, facts.code_needs.task_queue)
        except TemporalUnavailable as error:
            _log.info(
                "a relay will start the run",
                extra={"event": "run.start_left_to_relay", "run_id": run_id, "why": error.message},
            )


async def _facts(connection: Connection, pipeline: str, version: int) -> PipelineSummary:
    facts = await pipelines.facts(connection, pipeline, version)
    if facts is None:
        raise PipelineNotFound(pipeline, version)
    return facts


def _check_choices(draft: RunDraft, facts: PipelineSummary) -> None:
    """Raise RequestInvalid if a model is chosen for what is no llm step."""
    faults = [
        Violation(f'step_models["{step}"]', f"{step} is no llm step of the pipeline")
        for step in sorted(draft.step_models.keys() - {need.step for need in facts.prompts})
    ]
    if faults:
        raise RequestInvalid(f"{faults[0].field}: {faults[0].description}", violations=faults)


def _same(found: tuple[Run, str] | None, request_id: str, digest: str) -> Run:
    if found is None or found[1] != digest:
        raise RequestIdReused(request_id, "run")
    return found[0]


def _unfinished(run: Run | None, run_id: str) -> Run:
    if run is None:
        raise RunNotFound(run_id)
    if run.status.final:
        raise RunFinished(run_id, run.status)
    return run
