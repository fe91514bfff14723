"""The beginning of a run. Whatever is done first for it begins it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from temporalio import activity

from jsonvalues import canonical
from runs.activities.edge import told
from runs.activities.patience import patiently
from runs.domain.failures import RunClosed, StepFailed
from runs.domain.inputs import Inline, Pointer
from runs.domain.outputs import OUTPUT, FileDraft, FilePointer
from runs.domain.pipelines import INPUT
from runs.domain.plan import MAX_ATTEMPTS
from runs.domain.runs import RunStatus
from servicekit.call import on_behalf_of

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools
    from runs.activities.setups import Setup, Setups
    from runs.domain.runs import OutputFile, RunSetup
    from runs.domain.work import RunRef
    from runs.peers.artifacts import Artifacts
    from runs.store.transitions import RunTransitions


class Beginnings:
    def __init__(
        self,
        tenants: TenantPools,
        setups: Setups,
        transitions: RunTransitions,
        artifacts: Artifacts,
    ) -> None:
        self._tenants = tenants
        self._setups = setups
        self._transitions = transitions
        self._artifacts = artifacts
        self._locks: WeakValueDictionary[RunRef, asyncio.Lock] = WeakValueDictionary()

    async def setup(self, run: RunRef) -> Setup:
        """Return what a run is done with; one that is pending has its input committed and runs.

        Raises RunClosed if the run is gone, over or replaced, and what Temporal is told if its
        input cannot be had.
        """
        lock = self._locks.setdefault(run, asyncio.Lock())
        async with lock:  # of steps that are the first together, one begins the run
            setup = await patiently(lambda: self._setups.find(run))
            if setup.run.status is RunStatus.PENDING:
                setup = await self._begin(run, setup)
            self._setups.remember(run, setup)
        return setup

    async def _begin(self, run: RunRef, setup: Setup) -> Setup:
        with on_behalf_of(tenant_id=run.tenant_id, user_id=setup.run.user_id):
            try:
                file = setup.run.input_file or await patiently(lambda: self._input(run, setup.run))
            except StepFailed as failure:
                final = failure.final or activity.info().attempt >= MAX_ATTEMPTS
                raise told(failure, final=final) from None
        status = await patiently(lambda: self._make_running(run, file))
        return replace(setup, run=replace(setup.run, status=status, input_file=file))

    async def _make_running(self, run: RunRef, file: OutputFile) -> RunStatus:
        async with self._tenants.connection(run.tenant_id) as connection:
            status = await self._transitions.begin(connection, run.run_id, run.epoch, file)
        if status is None or status.final:
            raise RunClosed
        return status

    async def _input(self, run: RunRef, setup: RunSetup) -> OutputFile:
        draft = FileDraft(run.run_id, INPUT, OUTPUT)
        match setup.input:
            case Inline(value):
                return await self._artifacts.put(run.tenant_id, draft, canonical(value))
            case Pointer(path, digest, json_pointer):
                source = FilePointer(path, digest, json_pointer)
                return await self._artifacts.copy(run.tenant_id, source, draft)
            case _:
                raise RunClosed  # a held run is started only once its input is there
