"""What an operation of one kind does: steps that may each run again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from dataplane.pools import Connection
    from tenant.domain.operations import Operation, OperationKind

    StepFunction: TypeAlias = (
        "Callable[[Connection, Operation], Awaitable[Mapping[str, object] | None]]"
    )


def tenant_lock(tenant_id: str) -> str:
    """Return the name of the advisory lock for changes of a tenant and its database."""
    return f"tenant/{tenant_id}"


def operation_lock(operation: Operation) -> str:
    """Return the name of the lock of the operation's tenant, or of its own if it has none."""
    if operation.tenant_id:
        return tenant_lock(operation.tenant_id)
    return f"operation/{operation.operation_id}"


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a saga.

    `run` is given a connection to the management database whose session holds the saga's lock, and
    the operation as the steps before have left it. What it returns is added to the operation's
    notes. It may run again after it has succeeded, where the record of that was lost; so it
    checks what exists before it acts.
    """

    name: str
    run: StepFunction


@dataclass(frozen=True, slots=True)
class Saga:
    """The steps of one kind of operation, in their order.

    `undo` removes what the steps have made; a kind that has it can be cancelled. With
    `undo_on_failure` it also runs before the operation fails, which then begins anew when it is
    resumed. After the step `final` there is no way back: a failure undoes nothing, the operation
    goes on behind that step when it is resumed, and `undo` only removes what is not needed any
    more. `lock` names the advisory lock that is held meanwhile.
    """

    kind: OperationKind
    steps: Sequence[Step]
    undo: StepFunction | None = None
    undo_on_failure: bool = False
    final: str = ""
    lock: Callable[[Operation], str] = operation_lock

    def remaining(self, last: str) -> Sequence[Step]:
        """Return the steps after the one that was completed last, all of them if it is unknown."""
        names = [step.name for step in self.steps]
        return self.steps[names.index(last) + 1 :] if last in names else self.steps

    def begins_anew_after(self, last: str) -> bool:
        """Return whether a failure undoes everything when `last` was completed last."""
        if self.undo is None or not self.undo_on_failure:
            return False
        return not self.final or self.final in {step.name for step in self.remaining(last)}
