"""Initializing a run: its input is committed and it becomes running. The first activity does it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from temporalio import activity

from jsonvalues import canonical
from nagaya_functions import FilePointer
from runs.domain.failures import RunClosed, StepFailed
from runs.domain.inputs import Inline, Pointer
from runs.domain.outputs import OUTPUT, FileDraft
from runs.domain.pipelines import INPUT
from runs.domain.plan import MAX_ATTEMPTS
from runs.domain.runs import RunStatus
from runs.domain.transitions import Transitions
from runs.domain.waiting import telling
from runs.worker.activities.error_interceptor import to_application_error
from runs.worker.activities.retries import retry_transient
from servicekit.call import on_behalf_of

if TYPE_CHECKING:
    from temporalio.exceptions import ApplicationError

    from runs.domain.activities import RunRef
    from runs.domain.runs import OutputFile, RunParameters
    from runs.peers.artifacts import Artifacts
    from runs.worker.activities.buffered_files import OutputFiles
    from runs.worker.activities.journal import Journal
    from runs.worker.activities.reuse import StepReuser
    from runs.worker.activities.run_context import RunContext, RunContextCache


class RunInitializer:
    """Initializes a run once, whichever of its activities come first."""

    def __init__(
        self,
        journal: Journal,
        contexts: RunContextCache,
        artifacts: Artifacts,
        reuser: StepReuser,
    ) -> None:
        self._journal = journal
        self._contexts = contexts
        self._artifacts = artifacts
        self._reuser = reuser
        self._locks: WeakValueDictionary[RunRef, asyncio.Lock] = WeakValueDictionary()

    async def initialize(self, run: RunRef) -> RunContext:
        """Return the context of a run; one that was pending has its input committed and runs then,
        a fork with what it takes over.

        Raises RunClosed if the run is gone, over, paused or replaced, and ApplicationError if its
        input cannot be had.
        """
        lock = self._locks.setdefault(run, asyncio.Lock())
        async with lock:  # of steps that are the first together, one initializes the run
            context = await retry_transient(lambda: self._contexts.find(run))
            if context.run.status is RunStatus.PENDING:
                context = await self._start(run, context)
            self._contexts.put(run, context)
        return context

    async def commit_input(
        self, run: RunRef, parameters: RunParameters, files: OutputFiles
    ) -> OutputFile:
        """Return the input's file; commit it to `files` unless it is there.

        A pointed-to input is copied at once. Raises StepFailed, and RunClosed for a held run.
        """
        return parameters.input_file or await retry_transient(
            lambda: self._commit_input(run, parameters, files)
        )

    async def _start(self, run: RunRef, context: RunContext) -> RunContext:
        with on_behalf_of(tenant_id=run.tenant_id, user_id=context.run.user_id):
            try:
                file = await self.commit_input(run, context.run, self._artifacts)
                await self._reuser.reuse(run, context, file)
            except StepFailed as failure:
                raise input_error(failure) from None
        status = await retry_transient(lambda: self._make_running(run, file))
        return replace(context, run=replace(context.run, status=status, input_file=file))

    async def _make_running(self, run: RunRef, file: OutputFile) -> RunStatus:
        status = (await self._journal.advance(run, Transitions(input=file))).run_status
        if status is None or not status.active:
            raise RunClosed
        return status

    async def _commit_input(
        self, run: RunRef, parameters: RunParameters, files: OutputFiles
    ) -> OutputFile:
        draft = FileDraft(run.run_id, INPUT, OUTPUT, repeatable=True)
        match parameters.input:
            case Inline(value):
                return await files.put(run.tenant_id, draft, canonical(value))
            case Pointer(path, digest, json_pointer):
                source = FilePointer(path, digest, json_pointer)
                with telling() as tell:
                    tell("the run's input is being copied")
                    return await self._artifacts.copy(run.tenant_id, source, draft)
            case _:
                raise RunClosed  # a held run is started only once its input is there


def input_error(failure: StepFailed) -> ApplicationError:
    """Return the error for Temporal of an input that cannot be had."""
    final = failure.final or activity.info().attempt >= MAX_ATTEMPTS
    return to_application_error(failure, final=final)
