"""Texts of errors as files: such a text may hold anything, so it goes nowhere else."""

from __future__ import annotations

import logging
import uuid
from typing import TYPE_CHECKING

from runs.domain.error_texts import ErrorText
from runs.domain.failures import FunctionRaised, StepFailed
from runs.domain.outputs import BYTES_AT_ONCE, FileDraft, error_name
from runs.worker.activities.retries import retry_transient, step_failure
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from runs.domain.activities import StepRef
    from runs.peers.artifacts import Artifacts

_log = logging.getLogger(__name__)


class ErrorFiles:
    """Commits the texts of errors as files beside the outputs of steps."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts

    async def failure(self, ref: StepRef, attempt: int, error: Exception) -> StepFailed:
        """Return why an attempt failed, in our own words.

        The text of an error that is not ours is committed as a file beside the step's outputs.
        """
        if isinstance(error, StepFailed):
            if error.text is not None:
                error.error_path = await self._write(ref, attempt, error.text)
            return error
        if isinstance(error, DomainError):
            return step_failure(error)
        if isinstance(error, TimeoutError):
            return StepFailed("STEP_TIMEOUT", "the attempt took longer than the step's timeout")
        failure = StepFailed("INTERNAL", f"internal error {uuid.uuid4().hex[:12]}")
        text = error.text if isinstance(error, FunctionRaised) else ErrorText.of(error)
        failure.error_path = await self._write(ref, attempt, text)
        _log.error(
            "a step raised an error that is not ours",
            extra={
                "event": "step.failed_unexpectedly",
                "error": failure.message,
                "type": text.type,
                "path": failure.error_path,
            },
        )
        return failure

    async def _write(self, ref: StepRef, attempt: int, text: ErrorText) -> str:
        draft = FileDraft(
            run_id=ref.run_id,
            step=ref.step,
            name=error_name(ref.item, ref.visit, attempt),
            item=ref.item,
            visit=ref.visit,
            summary=f"error of attempt {attempt}",
        )
        data = text.encoded(BYTES_AT_ONCE)
        try:
            file = await retry_transient(lambda: self._artifacts.put(ref.tenant_id, draft, data))
        except StepFailed:  # the failure itself matters more than its text
            return ""
        return file.output_path
