"""The beginning and the end of a run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from temporalio import activity

from runs.activities.edge import told
from runs.activities.patience import patiently
from runs.domain.failures import RunClosed, StepFailed
from runs.domain.inputs import Inline, Pointer
from runs.domain.outputs import OUTPUT, FileDraft, FilePointer
from runs.domain.pipelines import INPUT
from runs.domain.plan import MAX_ATTEMPTS
from runs.domain.runs import Failure, RunStatus
from runs.domain.values import shortest
from runs.domain.work import RunEnd, RunRef
from servicekit.call import calling

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools
    from runs.activities.setups import Setups
    from runs.domain.runs import OutputFile, RunSetup
    from runs.peers.artifacts import Artifacts
    from runs.store.steps import StepStore
    from runs.store.transitions import RunTransitions


class RunActivities:
    def __init__(
        self,
        tenants: TenantPools,
        setups: Setups,
        transitions: RunTransitions,
        steps: StepStore,
        artifacts: Artifacts,
    ) -> None:
        self._tenants = tenants
        self._setups = setups
        self._transitions = transitions
        self._steps = steps
        self._artifacts = artifacts

    @activity.defn
    async def begin_run(self, run: RunRef) -> bool:
        """Commit the run's input and make it running; False if there is nothing to do.

        An input that cannot be had fails the run.
        """
        try:
            setup = await self._setups.read(run)
        except RunClosed:
            return False
        with calling(tenant_id=run.tenant_id, user_id=setup.run.user_id):
            try:
                file = setup.run.input_file or await patiently(lambda: self._input(run, setup.run))
            except StepFailed as failure:
                final = failure.final or activity.info().attempt >= MAX_ATTEMPTS
                raise told(failure, final=final) from None
        async with self._tenants.connection(run.tenant_id) as connection:
            status = await self._transitions.begin(connection, run.run_id, run.epoch, file)
        self._setups.remember(run, replace(setup, run=replace(setup.run, input_file=file)))
        return status is not None and not status.final

    @activity.defn
    async def end_run(self, end: RunEnd) -> None:
        """Give the run its final status, with the first failure of its steps if it failed."""
        run = RunRef(end.tenant_id, end.run_id, end.epoch)
        status = RunStatus(end.status)
        if status is RunStatus.COMPLETED:
            async with self._tenants.connection(run.tenant_id) as connection:
                await self._transitions.complete(connection, run.run_id, run.epoch)
        else:
            await self._finish(run, status, Failure(end.reason, end.message))
        self._setups.forget(run)

    async def _finish(self, run: RunRef, status: RunStatus, reported: Failure) -> None:
        async with self._tenants.transaction(run.tenant_id) as connection:
            error: Failure | None = None
            if status is RunStatus.FAILED:
                error = await self._steps.find_failure(connection, run) or reported
            await self._transitions.finish(connection, run.run_id, run.epoch, status, error)

    async def _input(self, run: RunRef, setup: RunSetup) -> OutputFile:
        draft = FileDraft(run.run_id, INPUT, OUTPUT)
        match setup.input:
            case Inline(value):
                return await self._artifacts.put(run.tenant_id, draft, shortest(value))
            case Pointer(path, digest, json_pointer):
                source = FilePointer(path, digest, json_pointer)
                return await self._artifacts.copy(run.tenant_id, source, draft)
            case _:
                raise RunClosed  # a held run is started only once its input is there
