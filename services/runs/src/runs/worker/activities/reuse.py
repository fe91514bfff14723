"""Taking over what another run has done: its files are copied, its rows written as done.

It happens while the run is pending, and the run begins once everything is there. Each part may
happen twice: what is committed and recorded already is left as it is.
"""

from __future__ import annotations

import re
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING

from nagaya_functions import FilePointer
from runs.domain.failures import ReadTooLarge, RunClosed
from runs.domain.forks import Inputs, Reuse, reused_steps
from runs.domain.inputs import file_path
from runs.domain.outputs import FileCopy, parse_json
from runs.domain.pipelines import INPUT
from runs.store import reused_steps as store
from runs.store import runs
from runs.worker.activities.retries import retry_transient

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from dataplane.tenants import TenantPools
    from runs.domain.activities import RunRef
    from runs.domain.pipelines import StepSpec
    from runs.domain.runs import OutputFile
    from runs.peers.artifacts import Artifacts
    from runs.store.reused_steps import DoneStep
    from runs.worker.activities.run_context import RunContext

_AT_ONCE = 200
_LEFT_BEHIND = re.compile(r"artifacts/\d+-\d+/(error-\d+|call-\d+)\.json")
"""Errors of attempts, and replies that earlier builds stored as files."""


class StepReuser:
    """Takes over steps and elements of the run that a run was forked from."""

    def __init__(self, tenants: TenantPools, artifacts: Artifacts) -> None:
        self._tenants = tenants
        self._artifacts = artifacts

    async def reuse(self, run: RunRef, context: RunContext, given: OutputFile) -> None:
        """Take over all that is reused by a fork, whose input is `given`.

        Raises StepFailed for a file that cannot be copied, and RunClosed.
        """
        fork = context.run.fork
        if fork is None:
            return
        async with self._tenants.connection(run.tenant_id) as connection:
            source = await runs.find_parameters(connection, fork.run_id)
        if source is None or source.input_file is None:
            raise RunClosed  # rows of runs are not deleted, and inputs stay
        inputs = None
        if source.input_file.output_digest != given.output_digest:
            inputs = await self._inputs(run, source.input_file, given)
        else:
            await self._copy_files(run, fork.run_id, INPUT, {0: (0,)})  # beside the input
        reused = reused_steps(context.spec, fork.again, inputs)
        for step in context.spec.steps:
            if step.step in reused:
                await self._reuse_step(run, fork.run_id, step, reused[step.step])

    async def _inputs(self, run: RunRef, old: OutputFile, new: OutputFile) -> Inputs:
        pointers = [FilePointer(file.output_path, file.output_digest) for file in (old, new)]
        try:
            reads = [
                partial(self._artifacts.read, run.tenant_id, [pointer]) for pointer in pointers
            ]
            ((old_data,), (new_data,)) = [await retry_transient(read) for read in reads]
            return Inputs(parse_json(old_data), parse_json(new_data))
        except ReadTooLarge:
            return Inputs(None, None, readable=False)

    async def _reuse_step(self, run: RunRef, source_id: str, step: StepSpec, reuse: Reuse) -> None:
        """Copy the files of a step, then record it."""
        async with self._tenants.connection(run.tenant_id) as connection:
            done = await store.find_done(
                connection, source_id, step.step, mapped=step.map is not None
            )
            there = await store.find_places(connection, run.run_id, step.step)
        rows = [
            (row, item)
            for row in done
            for item in reuse.places(row.item)
            if (item, row.visit) not in there
        ]
        if not rows:
            return
        places: dict[int, set[int]] = defaultdict(set)
        for row, item in rows:
            places[row.item].add(item)
        await self._copy_files(run, source_id, step.step, places)
        for begin in range(0, len(rows), _AT_ONCE):
            part = rows[begin : begin + _AT_ONCE]
            reused = [
                store.ReusedStep(row, item, self._new_path(run, source_id, step.step, row, item))
                for row, item in part
            ]
            record = partial(self._record, run, source_id, step, reused)
            if not await retry_transient(record):
                raise RunClosed

    async def _record(
        self, run: RunRef, source_id: str, step: StepSpec, reused: Sequence[store.ReusedStep]
    ) -> bool:
        async with self._tenants.connection(run.tenant_id) as connection:
            return await store.insert(connection, run, source_id, step.step, reused)

    def _new_path(self, run: RunRef, source_id: str, step: str, done: DoneStep, item: int) -> str:
        """Return where the copy of an output lies; empty without an output."""
        if not done.output_path:
            return ""
        name = done.output_path.partition(f"/{source_id}/{step}/")[2]
        prefix = self._artifacts.prefix(run.tenant_id)
        return file_path(prefix, run.run_id, step, _renamed(name, done.item, item))

    async def _copy_files(
        self, run: RunRef, source_id: str, step: str, places: Mapping[int, Collection[int]]
    ) -> None:
        """Copy the files of elements to their places; those of a step that is not mapped have
        number 0.
        """
        token = ""
        while True:
            page = partial(self._artifacts.list_files, run.tenant_id, source_id, step, token)
            files, token = await retry_transient(page)
            copies = [
                FileCopy(file, run.run_id, step, _renamed(file.name, file.item, item), item)
                for file in files
                if not _LEFT_BEHIND.fullmatch(file.name)
                for item in places.get(file.item, ())
            ]
            for begin in range(0, len(copies), _AT_ONCE):
                part = copies[begin : begin + _AT_ONCE]
                await retry_transient(partial(self._artifacts.copy_files, run.tenant_id, part))
            if not token:
                return


def _renamed(name: str, old_item: int, item: int) -> str:
    """Return the name of an element's file for another element."""
    if item == old_item:
        return name
    return name.replace(f"artifacts/{old_item}-", f"artifacts/{item}-", 1)
