"""The progress of a run, built from its events: its state, and its steps in order of start."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nagaya.runs.v1 import run_pb2
from nagaya_client.cli import hints, values

if TYPE_CHECKING:
    from collections.abc import Iterator

_MANY = 12  # elements of a map that are still shown one by one
_WAITING = run_pb2.STEP_STATE_WAITING


@dataclass(frozen=True, slots=True)
class ProgressRow:
    """One row of the table, ready to be shown."""

    step: str
    item: str
    state: str
    model: str
    tokens: str
    cost: str
    seconds: str


@dataclass(slots=True)
class RunProgress:
    """One run, as far as its events have come."""

    title: str
    run: run_pb2.Run = field(default_factory=run_pb2.Run)
    _steps: dict[tuple[str, int, int], run_pb2.RunStep] = field(
        default_factory=dict[tuple[str, int, int], run_pb2.RunStep]
    )

    def apply(self, event: run_pb2.RunEvent) -> None:
        """Take over what an event says."""
        if event.WhichOneof("event") == "run":
            self.run = event.run
        else:
            step = event.step
            self._steps[step.step, step.item, step.visit] = step

    @property
    def state(self) -> str:
        return values.name_of(run_pb2.RunState, self.run.state)

    @property
    def completed(self) -> bool:
        return self.run.state == run_pb2.RUN_STATE_COMPLETED

    @property
    def waits(self) -> str:
        """What the run waits for beside its steps, and which command helps; empty for nothing."""
        if self.run.HasField("end_time"):
            return ""
        if self.run.stuck_reason:
            return f"does not move: {hints.in_commands(self.run.stuck_reason)}"
        if self.run.queued:
            return "waits for its turn: its tenant has as many runs under way as it may"
        waiting = [one.step for one in self._steps.values() if one.state == _WAITING]
        if not waiting:
            return ""
        text = f"{', '.join(waiting)} waits for a person: ListApprovals shows what is asked"
        return hints.in_commands(text, {"run_id": self.run.run_id})

    def heading(self) -> str:
        if not self.run.HasField("start_time"):
            return f"{self.title}  {self.state}"
        cost = sum(step.cost_micro_usd for step in self._steps.values())
        return f"{self.title}  {self.state}  {values.money(cost)}  {_elapsed(self.run)} s"

    def rows(self) -> Iterator[ProgressRow]:
        """The steps; items of a long map as one row."""
        by_step: dict[str, list[run_pb2.RunStep]] = {}
        for step in self._steps.values():
            by_step.setdefault(step.step, []).append(step)
        for name, pieces in by_step.items():
            counted = [piece for piece in pieces if piece.item] or pieces
            if len(counted) > _MANY:
                yield _summarized(name, pieces, counted)
            else:
                yield from map(row, sorted(pieces, key=lambda piece: (piece.item, piece.visit)))


def row(step: run_pb2.RunStep) -> ProgressRow:
    """One step, or one item of a map."""
    return ProgressRow(
        step=step.step,
        item=_item(step),
        state=values.name_of(run_pb2.StepState, step.state),
        model=step.llm_model,
        tokens=_tokens([step]),
        cost=values.money(step.cost_micro_usd) if step.cost_micro_usd else "",
        seconds=_elapsed(step),
    )


def _summarized(
    name: str, pieces: list[run_pb2.RunStep], counted: list[run_pb2.RunStep]
) -> ProgressRow:
    """One row for a whole step; of a map its items are counted, not its own record."""
    counts: dict[str, int] = {}
    for piece in counted:
        state = values.name_of(run_pb2.StepState, piece.state)
        counts[state] = counts.get(state, 0) + 1
    return ProgressRow(
        step=name,
        item=f"{len(counted):,}",
        state=", ".join(f"{count:,} {state}" for state, count in counts.items()),
        model=", ".join(sorted({piece.llm_model for piece in pieces} - {""})),
        tokens=_tokens(pieces),
        cost=values.money(sum(piece.cost_micro_usd for piece in pieces)),
        seconds="",
    )


def _item(step: run_pb2.RunStep) -> str:
    item = str(step.item) if step.item else ""
    return f"{item}/{step.visit}" if step.visit > 1 else item


def _tokens(pieces: list[run_pb2.RunStep]) -> str:
    count = sum(piece.input_tokens + piece.output_tokens for piece in pieces)
    return f"{count:,}" if count else ""


def _elapsed(work: run_pb2.Run | run_pb2.RunStep) -> str:
    """Seconds until the end, or until now."""
    if not work.HasField("start_time"):
        return ""
    ended = work.HasField("end_time")
    end = work.end_time.ToNanoseconds() if ended else time.time_ns()
    return f"{max(0, end - work.start_time.ToNanoseconds()) / 1e9:.1f}"
