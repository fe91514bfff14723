"""What became of prompts and a pipeline that were applied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runs.domain.pipelines import PipelineVersion
    from runs.domain.prompts import PromptVersion


@dataclass(frozen=True, slots=True)
class AppliedPrompt:
    """The active version of a prompt."""

    version: PromptVersion
    changed: bool
    """Whether it has just become that."""
    replaced_version: int
    """The number of the version that was active before; 0 if none was."""


@dataclass(frozen=True, slots=True)
class AppliedPipeline:
    """The newest version of a pipeline."""

    version: PipelineVersion
    created: bool
    """Whether it is new."""
    prompts: tuple[AppliedPrompt, ...]
