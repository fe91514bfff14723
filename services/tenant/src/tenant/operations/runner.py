"""Runs operations: in the background, and those that a dead process has left."""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from contextlib import nullcontext, suppress
from contextvars import Context
from typing import TYPE_CHECKING, TypeAlias

from servicekit.call import CallContext, use_call
from servicekit.errors import (
    DatabaseUnavailable,
    DeadlineExceeded,
    DomainError,
    Internal,
    LimitExceeded,
    Unavailable,
)
from servicekit.identity import Principal
from servicekit.retries import RetryLog
from tenant.domain.operations import OperationState
from tenant.errors import OperationAbandoned, OperationFailed, OperationNotFound
from tenant.operations.lock_loss import ended_with
from tenant.store import operation_runs, operations

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from contextlib import AbstractAsyncContextManager

    from dataplane.pools import Connection
    from dataplane.tenants import ManagementPool
    from tenant.domain.operations import Operation, OperationKind
    from tenant.operations.operations import Operations
    from tenant.operations.saga import Saga, Step
    from tenant.store.locks import AdvisoryLocks

    _Run: TypeAlias = "asyncio.Task[DomainError | None]"
    _Taken: TypeAlias = "asyncio.Future[None]"

_AT_ONCE = 4
_AWAITED_AT_ONCE = 6
_INTERVAL_SECONDS = 1.0
_ELSEWHERE_SECONDS = 0.1
_LOOKED_AT = 100
_MOST_ATTEMPTS = 20
_TRANSIENT = (Unavailable, DeadlineExceeded, LimitExceeded)
_log = logging.getLogger(__name__)


class OperationRunner:
    """Runs the steps of operations, each under its saga's advisory lock.

    Every process of the service has one. An operation whose process died is taken up by another
    within seconds, at the step after the last completed one. `at_once` bounds how many this process
    runs in the background, `awaited_at_once` how many for callers that wait.

    A step that fails because something is away is tried again, after a pause; another DomainError
    fails the operation. So does an operation with which 20 processes ended before it moved.
    """

    def __init__(
        self,
        management: ManagementPool,
        locks: AdvisoryLocks,
        begun: Operations,
        sagas: Iterable[Saga],
        *,
        at_once: int = _AT_ONCE,
        awaited_at_once: int = _AWAITED_AT_ONCE,
        interval_seconds: float = _INTERVAL_SECONDS,
    ) -> None:
        self._management = management
        self._locks = locks
        self._begun = begun
        self._sagas = {saga.kind: saga for saga in sagas}
        self._at_once = at_once
        self._interval_seconds = interval_seconds
        self._active: dict[str, _Run] = {}
        self._background: set[str] = set()
        self._awaited = asyncio.Semaphore(awaited_at_once)
        self._running: asyncio.Task[None] | None = None
        self._retry_log = RetryLog(
            _log, "operations.unavailable", "operations that are due cannot be found"
        )

    def cancellable(self, kind: OperationKind) -> bool:
        """Return whether operations of a kind can be cancelled."""
        saga = self._sagas.get(kind)
        return saga is not None and saga.undo is not None

    def start(self) -> None:
        """Begin to run operations in the background."""
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Run no more; another process goes on with what is under way here."""
        tasks = [task for task in (self._running, *self._active.values()) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def run_to_end(self, operation: Operation) -> Operation:
        """Run an operation here and now; return it when it is done.

        It goes on in the background when the caller goes away. Raises the error with which a step
        failed, OperationFailed where that was elsewhere, DatabaseUnavailable if it is to go on.
        """
        while True:
            run = self._active.get(operation.operation_id) or self._start(
                operation, _not_taken(), self._awaited
            )
            # Not `await run`: the caller's deadline does not end the operation.
            await asyncio.wait((run,))
            if run.cancelled():  # its lock was lost with the connection, or the process ends
                raise DatabaseUnavailable("the connection that held the operation's lock is lost")
            if (error := run.result()) is not None:
                raise error
            async with self._management.connection() as connection:
                found = await operations.find(connection, operation.operation_id)
            if found is None:
                raise OperationNotFound(operation.operation_id)
            if found.state is OperationState.DONE:
                return found
            if found.ended:
                raise OperationFailed(found.operation_id, found.reason, found.message)
            await asyncio.sleep(_ELSEWHERE_SECONDS)

    async def _run(self) -> None:
        while True:
            try:
                await self._cancel_requested()
                await self._start_due()
                self._retry_log.succeeded()
            except DomainError as error:
                self._retry_log.failed(error)
            except Exception:
                _log.exception(
                    "operations could not be run", extra={"event": "operations.run_failed"}
                )
            jitter = random.uniform(0.75, 1.25)  # noqa: S311 - keeps replicas apart
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval_seconds * jitter):
                    await self._begun.wanted.wait()
            self._begun.wanted.clear()

    async def _cancel_requested(self) -> None:
        """Stop what is to be cancelled; the next round takes it up and undoes it."""
        if not self._active:
            return
        async with self._management.connection() as connection:
            cancelled = await operation_runs.cancelled(connection, [*self._active])
        for operation_id in cancelled & self._active.keys():
            self._active[operation_id].cancel()

    async def _start_due(self) -> None:
        if len(self._background) >= self._at_once:
            return
        async with self._management.connection() as connection:
            found = await operation_runs.due(connection, [*self._sagas], _LOOKED_AT)
        for operation in found:
            if len(self._background) >= self._at_once:
                return
            if operation.operation_id not in self._active:
                taken = _not_taken()
                self._background.add(operation.operation_id)
                run = self._start(operation, taken, nullcontext())
                # One that another process holds takes no place.
                await asyncio.wait((run, taken), return_when=asyncio.FIRST_COMPLETED)

    def _start(
        self, operation: Operation, taken: _Taken, place: AbstractAsyncContextManager[None]
    ) -> _Run:
        operation_id = operation.operation_id
        # In a context of its own: it must not end with the deadline of a call.
        run = asyncio.create_task(self._run_one(operation, taken, place), context=Context())
        self._active[operation_id] = run
        run.add_done_callback(lambda _: self._ended(operation_id, taken))
        return run

    def _ended(self, operation_id: str, taken: _Taken) -> None:
        del self._active[operation_id]
        self._background.discard(operation_id)
        self._begun.forget(operation_id)
        if taken.done():
            self._begun.wanted.set()  # there is room for another one

    async def _run_one(
        self, operation: Operation, taken: _Taken, place: AbstractAsyncContextManager[None]
    ) -> DomainError | None:
        """Run an operation unless another process does; return the error with which it stopped."""
        saga, operation_id = self._sagas[operation.kind], operation.operation_id
        with use_call(_call_of(operation)):
            try:
                async with place, self._locks.trying(saga.lock(operation)) as connection:
                    if connection is None:
                        return None
                    found = await operation_runs.take(connection, operation_id)
                    if found is None:
                        return None
                    taken.set_result(None)
                    with ended_with(connection):
                        await _run_steps(connection, saga, *found)
            except DomainError as error:
                await self._record(operation, error)
                return error
            except Exception:
                error = self._defect(operation)
                await self._record(operation, error)
                return error
        return None

    async def _record(self, operation: Operation, error: DomainError) -> None:
        """Record why an operation stopped; if that fails it is taken up again soon."""
        transient = isinstance(error, _TRANSIENT)
        about = {"reason": error.reason, "why": error.message, **_about(operation)}
        if transient:
            _log.info("an operation waits", extra={"event": "operation.postponed", **about})
        else:
            _log.warning("an operation has failed", extra={"event": "operation.failed", **about})
        with suppress(DomainError):
            async with self._management.connection() as connection:
                if transient:
                    await operation_runs.postpone(connection, operation.operation_id, error.message)
                else:
                    message = f"{error.message}. {error.hint}" if error.hint else error.message
                    await operation_runs.fail(
                        connection, operation.operation_id, error.reason, message
                    )

    def _defect(self, operation: Operation) -> Internal:
        error_id = uuid.uuid4().hex
        _log.exception(
            "a step of an operation failed unexpectedly",
            extra={
                "event": "operation.defect_found",
                "error_id": error_id,
                **_about(operation),
            },
        )
        return Internal(f"internal error {error_id}", error_id=error_id)


async def _run_steps(
    connection: Connection, saga: Saga, operation: Operation, attempts: int
) -> None:
    operation_id = operation.operation_id
    if attempts > _MOST_ATTEMPTS:
        raise OperationAbandoned(operation_id, attempts)
    if operation.cancel_requested and saga.undo is not None:
        await saga.undo(connection, operation)
        await operation_runs.mark_cancelled(connection, operation_id)
        _log.info(
            "an operation was cancelled",
            extra={"event": "operation.cancelled", **_about(operation)},
        )
        return
    steps = saga.remaining(operation.step)
    for step in steps:
        notes = await _run_step(connection, saga, step, operation)
        last = step is steps[-1]
        recorded = await operation_runs.record_step(
            connection, operation_id, step.name, notes, last=last
        )
        if recorded is None:
            return  # to be cancelled: the next round does
        operation = recorded
    _log.info("an operation is done", extra={"event": "operation.done", **_about(operation)})


async def _run_step(
    connection: Connection, saga: Saga, step: Step, operation: Operation
) -> Mapping[str, object]:
    """Run one step; if it fails for good, undo the saga where that is wanted."""
    try:
        return await step.run(connection, operation) or {}
    except Exception as error:
        undo = saga.undo if saga.begins_anew_after(operation.step) else None
        if undo is not None and not isinstance(error, _TRANSIENT):
            await undo(connection, operation)
            await operation_runs.reset_steps(connection, operation.operation_id)
        raise


def _call_of(operation: Operation) -> CallContext:
    """Return the context of an operation's work: for its tenant, as the user who began it."""
    tenant_id, user_id = operation.tenant_id, operation.user_id
    principal = Principal(user_id, None, frozenset({tenant_id}), frozenset())
    return CallContext(operation.operation_id, principal, tenant_id or None, user_id)


def _about(operation: Operation) -> dict[str, str]:
    return {"operation_id": operation.operation_id, "kind": operation.kind}


def _not_taken() -> _Taken:
    return asyncio.get_running_loop().create_future()
