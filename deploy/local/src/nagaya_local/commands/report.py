"""The stack's state, and its lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya_local.supervisor.state import current_state

if TYPE_CHECKING:
    from nagaya_local.clone.layout import Layout
    from nagaya_local.supervisor.state import PartStatus, StackState


def status(layout: Layout) -> StackState:
    """Return the stack's state as it is now."""
    return current_state(layout)


def status_lines(state: StackState) -> list[str]:
    """Return the phase, a row for each part, and why the stack failed if it has."""
    rows = [line for part in state.parts for line in _part_lines(part)]
    failure = state.failure
    why = [f"why: {failure.message}", f"do:  {failure.remedy}"] if failure is not None else []
    return [f"phase: {state.phase.value}", *rows, *why]


def _part_lines(part: PartStatus) -> list[str]:
    detail = f"  ({part.detail})" if part.detail else ""
    row = (
        f"{part.name:<12} {part.state.value:<11} "
        f"pid {part.process.pid if part.process else '-':<8} restarts {part.restarts:<3} "
        f"{part.address}{detail}"
    )
    why = f"{'':<12} started again, because it {part.restart_reason}"
    return [row.rstrip(), why] if part.restart_reason else [row.rstrip()]
