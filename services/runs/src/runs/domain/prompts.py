"""Prompts: the templates that steps send to their models, in versions that never change."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runs.errors import PromptTemplateInvalid

if TYPE_CHECKING:
    from datetime import datetime

_PLACEHOLDER = re.compile(r"\{\{(.*?)(\}\}|\Z)", re.DOTALL)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")

ACTIVE = 0
"""In place of a version's number: the version that is active at that moment."""


@dataclass(frozen=True, slots=True)
class PromptDraft:
    """A prompt that has no version yet; its template has been checked."""

    step: str
    content: str
    variables: tuple[str, ...]
    digest: str

    @classmethod
    def parse(cls, step: str, content: str) -> PromptDraft:
        """Check a template and find its variables. Raises PromptTemplateInvalid."""
        digest = hashlib.sha256(content.encode()).hexdigest()
        return cls(step, content, _variables(content), digest)


@dataclass(frozen=True, slots=True)
class PromptVersion:
    """A version of a step's prompt; but for `active` it never changes."""

    step: str
    version: int
    content: str
    variables: tuple[str, ...]
    active: bool
    digest: str
    create_time: datetime


@dataclass(frozen=True, slots=True)
class PromptRequirement:
    """What an llm step asks of its prompt: a version (or ACTIVE), and exactly these variables."""

    step: str
    version: int
    variables: tuple[str, ...]

    def faults(self, prompt: PromptFacts | None) -> tuple[PromptFault, ...]:
        """Return why a prompt is unusable for the step; nothing when it can be used."""
        if prompt is None:
            which = f"no version {self.version}" if self.version else "no active prompt"
            return (PromptFault(self.step, "", f"step {self.step} has {which}"),)
        at = f"step {self.step}: prompt version {prompt.version}"
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


def _variables(content: str) -> tuple[str, ...]:
    found: dict[str, None] = {}  # a dict keeps the order of first appearance
    line, counted = 1, 0
    for placeholder in _PLACEHOLDER.finditer(content):
        name, end = placeholder.groups()
        line += content.count("\n", counted, placeholder.start())
        counted = placeholder.start()
        if not end:
            raise PromptTemplateInvalid(f"line {line}: a variable is not closed", line=str(line))
        if not _NAME.fullmatch(name):
            raise PromptTemplateInvalid(f"line {line}: {name[:40]!r} is no name", line=str(line))
        found[name] = None
    return tuple(found)
