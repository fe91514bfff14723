"""Prompts: the templates that steps send to their models, in versions that never change."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runs.domain.templates import variables_of

if TYPE_CHECKING:
    from datetime import datetime

ACTIVE = 0
"""In place of a version's number: the version that is active at that moment."""


@dataclass(frozen=True, slots=True)
class PromptDraft:
    """A prompt that has no version yet; its template has been checked."""

    prompt: str
    content: str
    variables: tuple[str, ...]
    digest: str

    @classmethod
    def parse(cls, prompt: str, content: str) -> PromptDraft:
        """Check a template and find its variables. Raises PromptTemplateInvalid."""
        digest = hashlib.sha256(content.encode()).hexdigest()
        return cls(prompt, content, variables_of(content), digest)


@dataclass(frozen=True, slots=True)
class PromptVersion:
    """A version of a prompt; but for `active` and `labels` it never changes."""

    prompt: str
    """Its name."""
    version: int
    content: str
    variables: tuple[str, ...]
    active: bool
    digest: str
    create_time: datetime
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PromptRequirement:
    """What an llm step asks of its prompt: a version (or ACTIVE), and exactly these variables.

    None for the variables of a node, which are known once it asks.
    """

    step: str
    version: int
    variables: tuple[str, ...] | None
    prompt: str
    """The prompt's name."""
    label: str = ""
    """The label that chooses the version, in place of ACTIVE."""

    @property
    def name(self) -> str:
        """Return the prompt as people are told of it."""
        return "" if self.prompt == self.step else f" {self.prompt}"

    def faults(self, prompt: PromptFacts | None) -> tuple[PromptFault, ...]:
        """Return why a prompt is unusable for the step; nothing when it can be used."""
        if prompt is None:
            return (PromptFault(self.step, "", self._missing()),)
        if self.variables is None:
            return ()
        at = f"step {self.step}: prompt{self.name} version {prompt.version}"
        bound, wanted = set(self.variables), set(prompt.variables)
        unbound = (
            PromptFault(self.step, name, f"{at} needs {name}, which is not bound")
            for name in prompt.variables
            if name not in bound
        )
        unknown = (
            PromptFault(self.step, name, f"{at} has no variable {name}, which is bound")
            for name in self.variables
            if name not in wanted
        )
        return (*unbound, *unknown)

    def _missing(self) -> str:
        if self.label:
            return f"step {self.step}: prompt {self.prompt} has no version labelled {self.label}"
        if not self.name:
            which = f"no version {self.version}" if self.version else "no active prompt"
            return f"step {self.step} has {which}"
        which = f"no version {self.version}" if self.version else "no active version"
        return f"step {self.step}: prompt {self.prompt} has {which}"


@dataclass(frozen=True, slots=True)
class PromptFacts:
    """A prompt version without its text."""

    step: str
    version: int
    variables: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PromptFault:
    """Why a step cannot use a prompt."""

    step: str
    variable: str
    """The variable that is wrong; empty when there is no prompt at all."""
    description: str


@dataclass(frozen=True, slots=True)
class PromptUse:
    """A step that uses a prompt's active version, or one that has a label, in the newest version
    of its pipeline.
    """

    pipeline: str
    step: str
    label: str
