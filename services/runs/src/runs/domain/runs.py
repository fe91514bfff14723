"""Runs of pipelines."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from jsonvalues import canonical
from runs.domain.forks import fork_json
from runs.domain.inputs import Held, Pointer, check_settings, check_size, input_json, to_stored_json
from runs.domain.models import model_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from jsonvalues import JsonMapping, JsonValue
    from runs.domain.forks import Fork
    from runs.domain.inputs import RunInput
    from runs.domain.models import ModelChoice


class RunStatus(StrEnum):
    """As the column `runs.status` holds it."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self in _FINAL

    @property
    def active(self) -> bool:
        """Whether steps are worked on, or will be without anybody's doing."""
        return self in (RunStatus.PENDING, RunStatus.RUNNING)


_FINAL = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED})


class RunOperation(StrEnum):
    """What is asked of a run that there is."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    RETRY = "retry"


class RunStop(StrEnum):
    """What a running run is told to stop for, as the column `runs.stop` holds it."""

    PAUSE = "pause"
    RESUME = "resume"
    """A pause that was withdrawn before it was reached: the run goes on once it has stopped."""
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A committed file by its path and digest, with a fact and numbers about it."""

    output_path: str
    output_digest: str
    summary: str
    metrics: Mapping[str, int]
    fractional_metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    """Those that are no whole numbers of 64 bits, as they are; `metrics` has them rounded."""
    values: Mapping[str, str | bool] = field(default_factory=dict[str, "str | bool"])
    """Texts of at most 256 characters and booleans in it, for conditions."""

    @property
    def numbers(self) -> dict[str, float]:
        """Return all metrics as they are."""
        return {**self.metrics, **self.fractional_metrics}

    @property
    def facts(self) -> dict[str, float | str | bool]:
        """Return all metrics and values, for conditions."""
        return {**self.numbers, **self.values}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run or a step failed, without any body."""

    reason: str
    message: str
    step: str = ""
    error_path: str = ""
    item: int = 0
    visit: int = 1


RUN_MODELS_FIRST = "run_models_first"
"""What the `config` of a run holds whose `step_models` go before the pipeline's models."""

INTERRUPTED = Failure("INTERRUPTED", "the run ended before the step did")
"""Of steps that their run left unfinished."""


@dataclass(frozen=True, slots=True)
class RunTotals:
    """What a run has used and cost by now."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_micro_usd: int = 0
    completed_steps: int = 0
    calls_open: bool = False
    """Whether calls are in flight that the run no longer waits for: their cost is to be added."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run as its row tells it."""

    run_id: str
    pipeline: str
    pipeline_version: int
    status: RunStatus
    stop: RunStop | None
    """What it is told to stop for, while it still runs."""
    held: bool
    queued: bool
    """Whether it waits for its turn: as many of its tenant's runs are under way as may be."""
    current_step: str
    settings: JsonMapping
    """What the creator wanted to keep with the run."""
    input: OutputFile | None
    totals: RunTotals
    error: Failure | None
    stuck_reason: str
    last_sequence: int
    user_id: str
    create_time: datetime
    start_time: datetime | None
    end_time: datetime | None
    schedule: str = ""
    """The schedule that created it; empty where somebody called CreateRun."""
    schedule_time: datetime | None = None
    """The time of the schedule for which it was created."""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    """What its creator sorts runs by."""
    forked_from_run_id: str = ""
    """Empty when it was not forked."""

    @property
    def duration(self) -> timedelta | None:
        """How long it took from its start to its end; None before, or if it never began."""
        if self.start_time is None or self.end_time is None:
            return None
        return self.end_time - self.start_time


@dataclass(frozen=True, slots=True)
class RunDraft:
    """What CreateRun asks for; its sizes have been checked."""

    request_id: str
    digest: str
    """The sha256 of everything that is asked for."""
    pipeline: str
    version: int
    """The pipeline's version; 0 for the newest."""
    held: bool
    pointer: Pointer | None
    """Where the input lies, when it is given as a file."""
    step_models: Mapping[str, ModelChoice]
    """The run's own models, by step."""
    config: JsonMapping
    """What is kept with the run: the input, the models by step, the creator's settings."""
    schedule: str = ""
    """The schedule that creates it, for its `schedule_time`; empty for CreateRun."""
    schedule_time: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    fork: Fork | None = None
    """What the run takes over from another one."""

    @classmethod
    def parse(
        cls,
        request_id: str,
        pipeline: tuple[str, int],
        given: RunInput,
        step_models: Mapping[str, ModelChoice],
        settings: JsonMapping,
        labels: Mapping[str, str] | None = None,
    ) -> RunDraft:
        """Check the sizes and take the digest. Raises InputInvalid and RequestInvalid."""
        check_size(given)
        check_settings(settings)
        models = {step: model_json(choice) for step, choice in step_models.items()}
        config: dict[str, JsonValue] = {
            **input_json(given),
            "step_models": models,
            **to_stored_json("settings", settings),
        }
        # Without labels it is the digest that earlier builds took.
        whole: list[JsonValue] = [*pipeline, config, *([dict(labels)] if labels else [])]
        digest = hashlib.sha256(canonical(whole)).hexdigest()
        if models:
            config[RUN_MODELS_FIRST] = True
        return cls(
            request_id=request_id,
            digest=digest,
            pipeline=pipeline[0],
            version=pipeline[1],
            held=isinstance(given, Held),
            pointer=given if isinstance(given, Pointer) else None,
            step_models=step_models,
            config=config,
            labels=labels or {},
        )

    def forked(self, fork: Fork, digest: str) -> RunDraft:
        """Return the same as a fork; `digest` is that of what was asked for."""
        config = {**self.config, "fork": fork_json(fork)}
        return replace(self, digest=digest, config=config, fork=fork)


@dataclass(frozen=True, slots=True)
class Retry:
    """What RetryRun asks for."""

    request_id: str
    step: str = ""
    """The step that is done again; whatever failed when empty."""
    item: int = 0
    """The element of the step; all that failed when 0."""
    new_calls: bool = False
    """Whether what failed asks its model under a new key."""


@dataclass(frozen=True, slots=True)
class RunParameters:
    """What a run was created with, as its steps need it."""

    run_id: str
    status: RunStatus
    epoch: int
    pipeline: str
    pipeline_version: int
    user_id: str
    input: RunInput
    step_models: Mapping[str, ModelChoice]
    prompt_versions: Mapping[str, int]
    input_file: OutputFile | None
    """The committed file of step `input`; None until the first activity has written it."""
    fork: Fork | None = None
    """What the run takes over from another one."""
    run_models_first: bool = False
    """Whether `step_models` go before the pipeline's own models. Those of runs that earlier builds
    created do not, but for those that a fork has chosen."""

    def chooses_model(self, step: str) -> bool:
        """Return whether the run's own model for a step counts, and not the pipeline's."""
        if self.run_models_first:
            return step in self.step_models
        return self.fork is not None and step in self.fork.models
