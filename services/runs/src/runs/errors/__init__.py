"""Errors of the runs service; those of schedules and webhooks are in modules of their own.

DomainError
├── InvalidInput
│   ├── PromptTemplateInvalid
│   ├── PipelineInvalid
│   ├── PlanTooLarge
│   ├── InputInvalid
│   ├── ModelUnusable
│   ├── NotInstalled
│   ├── ScheduleInvalid
│   ├── WebhookInvalid
│   └── CommentMissing
├── NotFound
│   ├── PromptVersionNotFound
│   ├── PipelineNotFound
│   ├── RunNotFound
│   ├── ScheduleNotFound
│   ├── StepNotFound
│   ├── WebhookEndpointNotFound
│   └── ApprovalNotFound
├── OutOfRange
│   └── SequenceUnknown
├── AlreadyExists
│   ├── RequestIdReused
│   ├── ScheduleExists
│   └── WebhookEndpointExists
├── Conflict
│   ├── PromptUnusable
│   ├── SchedulePaused
│   ├── PromptShared
│   ├── RunNotBegun
│   ├── RunFinished
│   ├── RunNotFinished
│   ├── RunStopping
│   ├── RunHeld
│   ├── NothingToRetry
│   ├── InputMissing
│   ├── ApprovalDecided
│   ├── ApprovalExpired
│   └── ApprovalClosed
├── Forbidden
│   └── ApproverNotAllowed
└── Unavailable
    └── TemporalUnavailable   never leaves the service: the relay retries
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from servicekit.errors import (
    AlreadyExists,
    Conflict,
    InvalidInput,
    NotFound,
    OutOfRange,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servicekit.errors import Violation


class PromptTemplateInvalid(InvalidInput):
    """A prompt's template cannot be parsed."""

    reason = "ERROR_REASON_PROMPT_TEMPLATE_INVALID"
    hint = "Write a variable as {{name}}: lower-case letters, digits and underscores."


class PipelineInvalid(InvalidInput):
    """A pipeline breaks rules; every violation is listed."""

    reason = "ERROR_REASON_PIPELINE_INVALID"
    hint = "Each fault is listed in the details of the status, with its field."

    def __init__(self, violations: Sequence[Violation]) -> None:
        first = violations[0]
        others = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        super().__init__(f"{first.field}: {first.description}{others}", violations=violations)


class PlanTooLarge(InvalidInput):
    """A pipeline's plan does not fit into the argument of its workflow."""

    reason = "ERROR_REASON_PLAN_TOO_LARGE"
    hint = "Use fewer steps, shorter names, or fewer `needs`."

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"the plan takes {size_bytes:,} bytes, at most {limit_bytes:,} are possible",
            size_bytes=str(size_bytes),
            limit_bytes=str(limit_bytes),
        )


class InputInvalid(InvalidInput):
    """A run's input is too large, or is not where the request points to."""

    reason = "ERROR_REASON_INPUT_INVALID"
    hint = "Give at most 64 KiB inline, or point to a committed file by its path and its sha256."


class ModelUnusable(InvalidInput):
    """Steps get no model, or none that can do their work."""

    reason = "ERROR_REASON_MODEL_UNUSABLE"
    hint = (
        "Each step is listed in the details of the status. Choose models for the run in "
        "step_models, or correct the catalogue with the llm-gateway's CatalogService."
    )

    def __init__(self, violations: Sequence[Violation], *, step: str, gateway_reason: str) -> None:
        first = violations[0]
        others = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        super().__init__(
            f"{first.field}: {first.description}{others}",
            violations=violations,
            step=step,
            gateway_reason=gateway_reason,
        )


class PromptVersionNotFound(NotFound):
    """A prompt has no such version."""

    reason = "ERROR_REASON_PROMPT_VERSION_NOT_FOUND"
    hint = "List the tenant's prompts and their versions with ListPromptVersions."

    def __init__(self, prompt: str, version: int, label: str = "") -> None:
        which = f"version {version}" if version else "active version"
        which = f"version labelled {label}" if label else which
        super().__init__(f"prompt {prompt} has no {which}", step=prompt, version=str(version))


class PipelineNotFound(NotFound):
    """There is no pipeline of this name, or it has no such version."""

    reason = "ERROR_REASON_PIPELINE_NOT_FOUND"
    hint = "List the versions with ListPipelineVersions, or create one with CreatePipelineVersion."

    def __init__(self, pipeline: str, version: int) -> None:
        version_of = f"version {version} of " if version else ""
        super().__init__(
            f"there is no {version_of}pipeline {pipeline}", pipeline=pipeline, version=str(version)
        )


class RunNotFound(NotFound):
    """The tenant has no run with this id."""

    reason = "ERROR_REASON_RUN_NOT_FOUND"
    hint = "List the tenant's runs with ListRuns."

    def __init__(self, run_id: str) -> None:
        super().__init__(f"there is no run {run_id}", run_id=run_id)


class StepNotFound(NotFound):
    """A run's pipeline has no such step, or the run ended without this element or pass of it."""

    reason = "ERROR_REASON_STEP_NOT_FOUND"
    hint = "List the run's pieces of work with ListRunSteps."

    def __init__(self, run_id: str, step: str, why: str) -> None:
        super().__init__(why, run_id=run_id, step=step)


class SequenceUnknown(OutOfRange):
    """A run has fewer events than the caller says to have seen."""

    reason = "ERROR_REASON_SEQUENCE_UNKNOWN"
    hint = "GetRun tells the number of the last event; watch from there, or from 0."

    def __init__(self, run_id: str, after: int, last: int) -> None:
        super().__init__(
            f"the run has no event {after:,}: its last one is {last:,}",
            run_id=run_id,
            after_sequence=str(after),
            last_sequence=str(last),
        )


class RequestIdReused(AlreadyExists):
    """A request id was used for other content."""

    reason = "ERROR_REASON_REQUEST_ID_REUSED"
    hint = "Use a new request_id for a new request."

    def __init__(self, request_id: str, noun: str) -> None:
        super().__init__(
            f"this request_id was used for another {noun}, or with other content",
            request_id=request_id,
        )


class PromptUnusable(Conflict):
    """A step's prompt is missing, or its variables and the bindings differ."""

    reason = "ERROR_REASON_PROMPT_UNUSABLE"
    hint = (
        "Create the step's prompt with CreatePromptVersion, activate it with "
        "ActivatePromptVersion, and bind each of its variables exactly once."
    )


class PromptShared(Conflict):
    """A prompt that would change is used by other pipelines too."""

    reason = "ERROR_REASON_PROMPT_SHARED"
    hint = (
        "Give the step a prompt of its own: a `prompt` with another name, such as "
        "`invoices.extract`. Or set allow_shared, and the others change as well."
    )

    def __init__(self, prompt: str, pipelines: Sequence[str]) -> None:
        names = ", ".join(pipelines)
        super().__init__(
            f"prompt {prompt} is used by other pipelines too: {names}",
            prompt=prompt,
            pipelines=names,
        )


class RunNotBegun(Conflict):
    """A run that has done nothing is to be forked."""

    reason = "ERROR_REASON_RUN_NOT_BEGUN"
    hint = "Fork it once it has begun, or create a run with CreateRun."

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id} has no input yet", run_id=run_id)


class RunFinished(Conflict):
    """A run has its final status."""

    reason = "ERROR_REASON_RUN_FINISHED"
    hint = "Create a new run; one that failed or was cancelled goes on with RetryRun."

    def __init__(self, run_id: str, state: str) -> None:
        super().__init__(f"the run is {state}", run_id=run_id, state=state)


class InputMissing(Conflict):
    """A held run is started before its input is uploaded."""

    reason = "ERROR_REASON_INPUT_MISSING"
    hint = "Upload `output.json` of step `input` to the run, then call StartRun again."

    def __init__(self, path: str) -> None:
        super().__init__(f"nothing has been uploaded at {path}", path=path)


class RunNotFinished(Conflict):
    """A run that is to be retried has no final status yet."""

    reason = "ERROR_REASON_RUN_NOT_FINISHED"
    hint = "Wait for the run's end with WatchRun, or cancel it with CancelRun before."

    def __init__(self, run_id: str, state: str) -> None:
        super().__init__(f"the run is {state}", run_id=run_id, state=state)


class RunStopping(Conflict):
    """A run is being cancelled."""

    reason = "ERROR_REASON_RUN_STOPPING"
    hint = "Wait until the run is cancelled, then have it go on with RetryRun."

    def __init__(self, run_id: str) -> None:
        super().__init__("the run is being cancelled", run_id=run_id)


class RunHeld(Conflict):
    """A run waits for its input."""

    reason = "ERROR_REASON_RUN_HELD"
    hint = "The run begins with StartRun only; CancelRun ends it."

    def __init__(self, run_id: str) -> None:
        super().__init__("the run is held until it is started", run_id=run_id)


class NothingToRetry(Conflict):
    """Nothing of a run has failed that a retry is for."""

    reason = "ERROR_REASON_NOTHING_TO_RETRY"
    hint = "ListRunSteps shows what failed."

    def __init__(self, run_id: str, why: str) -> None:
        super().__init__(why, run_id=run_id)


class TemporalUnavailable(Unavailable):
    """Temporal cannot be reached at the moment."""
