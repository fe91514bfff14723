"""What the service decides about runs: creating, starting, cancelling.

The tenant's database comes first: the run, its first event and what Temporal is to be told are one
transaction. Then Temporal is told; if that fails, or this process ends before, a relay does it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from dataplane import audit
from runs.app.endings import Endings
from runs.app.models import Models
from runs.app.pending_work import PendingWork
from runs.app.pipelines import check_prompts
from runs.domain.inputs import input_path
from runs.domain.plan import FIRST_EPOCH, WORKFLOW_VERSION, RunStart
from runs.domain.prompts import ACTIVE
from runs.domain.runs import RunStatus
from runs.errors import (
    InputInvalid,
    InputMissing,
    PipelineNotFound,
    RequestIdReused,
    RunFinished,
    RunNotFound,
    TemporalUnavailable,
)
from servicekit.call import current_principal
from servicekit.errors import DomainError, RequestInvalid, Violation

if TYPE_CHECKING:
    from dataplane.pools import Connection
    from dataplane.tenants import DataPlane
    from runs.domain.inputs import Pointer
    from runs.domain.pipelines import PipelineFacts
    from runs.domain.runs import Run, RunDraft
    from runs.launcher import Launcher
    from runs.peers.artifacts import Artifacts
    from runs.peers.llm_gateway import LlmGateway
    from runs.store.stores import Stores

_log = logging.getLogger(__name__)


class Runs:
    def __init__(
        self,
        data: DataPlane,
        stores: Stores,
        artifacts: Artifacts,
        gateway: LlmGateway,
        launcher: Launcher,
    ) -> None:
        self._tenants = data.tenants
        self._stores = stores
        self._pending_work = PendingWork(data.tenants, data.management, stores.pending_work)
        self._artifacts = artifacts
        self._models = Models(gateway)
        self._launcher = launcher
        self._endings = Endings(data.tenants, stores, launcher)

    async def create(self, tenant_id: str, draft: RunDraft) -> Run:
        """Record a run, and start it unless it is held.

        A repeated `request_id` returns what its first call created, or raises RequestIdReused if
        the content differs. Raises PipelineNotFound, PromptUnusable, ModelUnusable, InputInvalid
        and RequestInvalid.
        """
        try:
            facts, versions = await self._checked(tenant_id, draft)
        except DomainError:
            before = await self._before(tenant_id, draft)
            if before is None:
                raise
            return before  # what the request refers to has changed since
        await self._pending_work.note(tenant_id)
        async with self._tenants.connection(tenant_id) as connection:
            user_id = current_principal().user_id
            created = await self._stores.runs.insert(connection, draft, facts, versions, user_id)
            if created is None:
                found = await self._stores.runs.find_by_request(connection, draft.request_id)
                return _same(found, draft)
        if not created.held:
            await self._launch(tenant_id, created.run_id, facts)
        return created

    async def start(self, tenant_id: str, run_id: str) -> Run:
        """Start a held run whose input has been uploaded; one that was started stays as it is.

        Raises RunNotFound, RunFinished, InputMissing and ModelUnusable.
        """
        async with self._tenants.connection(tenant_id) as connection:
            run = _unfinished(await self._stores.runs.find(connection, run_id), run_id)
            if not run.held:
                return run
            facts = await self._facts(connection, run.pipeline, run.pipeline_version)
            setup = await self._stores.runs.find_setup(connection, run_id)
        path = input_path(tenant_id, run.run_id)
        file = await self._artifacts.find(tenant_id, path)
        if file is None:
            raise InputMissing(path)
        await self._models.check(
            tenant_id, facts.models, {} if setup is None else setup.step_models
        )
        await self._pending_work.note(tenant_id)
        async with self._tenants.transaction(tenant_id) as connection:
            released = await self._stores.transitions.release(connection, run_id, file)
            if released is None:  # somebody was faster
                return _unfinished(await self._stores.runs.find(connection, run_id), run_id)
            await self._stores.outbox.add(connection, run_id, "start")
            await audit.append(connection, "run.start", "run", run.run_id)
        await self._launch(tenant_id, run.run_id, facts)
        return released

    async def cancel(self, tenant_id: str, run_id: str) -> Run:
        """Cancel a pending run at once, and ask a running one to stop.

        A running one that Temporal has no workflow for any more ends at once too. Raises
        RunNotFound and RunFinished.
        """
        await self._pending_work.note(tenant_id)
        async with self._tenants.transaction(tenant_id) as connection:
            found = await self._stores.runs.lock(connection, run_id)
            if found is None:
                raise RunNotFound(run_id)
            run, epoch = found
            if run.status is RunStatus.CANCELLED:
                return run
            run = _unfinished(run, run_id)
            if run.status is RunStatus.PENDING:
                transitions = self._stores.transitions
                ended = await transitions.finish(connection, run_id, epoch, RunStatus.CANCELLED)
                run = ended or run
            else:
                await self._stores.outbox.add(connection, run_id, "cancel")
            await audit.append(connection, "run.cancel", "run", run.run_id)
        if run.status is RunStatus.CANCELLED:
            return run
        return await self._stop(tenant_id, run.run_id, epoch) or run

    async def _before(self, tenant_id: str, draft: RunDraft) -> Run | None:
        """Return what the request created when it was made before. Raises RequestIdReused."""
        async with self._tenants.connection(tenant_id) as connection:
            found = await self._stores.runs.find_by_request(connection, draft.request_id)
        return None if found is None else _same(found, draft)

    async def _check_pointer(self, tenant_id: str, pointer: Pointer) -> None:
        file = await self._artifacts.find(tenant_id, pointer.path)
        if file is None:
            raise InputInvalid("no file is committed at the pointer's path", path=pointer.path)
        if file.output_digest != pointer.digest:
            raise InputInvalid("the file has another digest than the pointer", path=pointer.path)

    async def _facts(self, connection: Connection, pipeline: str, version: int) -> PipelineFacts:
        facts = await self._stores.pipelines.facts(connection, pipeline, version)
        if facts is None:
            raise PipelineNotFound(pipeline, version)
        return facts

    async def _checked(
        self, tenant_id: str, draft: RunDraft
    ) -> tuple[PipelineFacts, dict[str, int]]:
        """Return the pipeline's version and each step's prompt's, fixed from now on.

        Raises what `create` does. No connection is held while peers are asked.
        """
        async with self._tenants.connection(tenant_id) as connection:
            facts = await self._facts(connection, draft.pipeline, draft.version)
            active = [need for need in facts.prompts if need.version == ACTIVE]
            found = await self._stores.prompts.facts(connection, active) if active else {}
        _check_choices(draft, facts)
        check_prompts(active, found)  # versions that are named were checked with the pipeline
        versions = {need.step: need.version or found[need.step].version for need in facts.prompts}
        if draft.pointer is not None:
            await self._check_pointer(tenant_id, draft.pointer)
        await self._models.check(tenant_id, facts.models, draft.step_models)
        return facts, versions

    async def _launch(self, tenant_id: str, run_id: str, facts: PipelineFacts) -> None:
        """Start the workflow, or leave it to a relay. The outbox forgets it once it has begun."""
        try:
            start = RunStart(tenant_id, run_id, FIRST_EPOCH, facts.plan, WORKFLOW_VERSION)
            await self._launcher.start(start)
        except TemporalUnavailable as error:
            _log.info("a relay will start the run", extra={"run_id": run_id, "why": error.message})

    async def _stop(self, tenant_id: str, run_id: str, epoch: int) -> Run | None:
        """Cancel the workflow, or leave it to a relay; return the run if that ended it."""
        try:
            return await self._endings.cancel(tenant_id, run_id, epoch)
        except TemporalUnavailable as error:
            _log.info("a relay will cancel the run", extra={"run_id": run_id, "why": error.message})
            return None


def _check_choices(draft: RunDraft, facts: PipelineFacts) -> None:
    """Raise RequestInvalid if a model is chosen for what is no llm step."""
    faults = [
        Violation(f'step_models["{step}"]', f"{step} is no llm step of the pipeline")
        for step in sorted(draft.step_models.keys() - {need.step for need in facts.prompts})
    ]
    if faults:
        raise RequestInvalid(f"{faults[0].field}: {faults[0].description}", violations=faults)


def _same(found: tuple[Run, str] | None, draft: RunDraft) -> Run:
    if found is None or found[1] != draft.digest:
        raise RequestIdReused(draft.request_id, "run")
    return found[0]


def _unfinished(run: Run | None, run_id: str) -> Run:
    if run is None:
        raise RunNotFound(run_id)
    if run.status.final:
        raise RunFinished(run_id, run.status)
    return run
