"""A worker that records nothing of the steps that it does: `python -m bench.kills.broken_worker`.

It works as the real one does, with the same settings, but keeps to itself that attempts begin and
end, and looks up nothing that was recorded. A kill run with it has to find broken promises, or its
judgement is worth nothing.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from runs.domain.runs import RunStatus
from runs.domain.transitions import Advanced, StepAttempt
from runs.store.steps import EndedSteps
from runs.worker.activities.journal import Journal
from runs.worker.process import main

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runs.domain.activities import RunRef, StepRef
    from runs.domain.transitions import Transitions

_numbers = count(-1, -1)
_advance = Journal.advance


async def _record_nothing(self: Journal, run: RunRef, transitions: Transitions) -> Advanced:
    if transitions.input is not None:
        await _advance(self, run, type(transitions)(input=transitions.input))
    return Advanced(
        RunStatus.COMPLETED if transitions.completes_run else RunStatus.RUNNING,
        tuple(True for _ in transitions.ended),
        tuple(True for _ in transitions.whole),
        tuple(StepAttempt(next(_numbers), 1, 0, 0) for _ in transitions.begun),
    )


async def _find_nothing(self: Journal, run: RunRef, refs: Sequence[StepRef]) -> EndedSteps:
    return EndedSteps({}, {})


if __name__ == "__main__":
    Journal.advance = _record_nothing
    Journal.ended = _find_nothing
    main()
