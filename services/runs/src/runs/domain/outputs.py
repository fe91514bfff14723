"""Files of a run: their names, and what is known of them."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - the default of a field is one
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jsonvalues import NotJson, parse
from nagaya_functions import MAX_FILE_BYTES
from runs.domain.failures import StepImpossible

if TYPE_CHECKING:
    from jsonvalues import JsonValue
    from runs.domain.activities import StepRef

OUTPUT = "output.json"
BYTES_AT_ONCE = MAX_FILE_BYTES
"""The most that a step commits as one file, or reads of files, at once."""

VALUE_CHARACTERS = 256
"""The most characters of a value, which conditions compare."""

CONTENT = "/content"
"""Where in a model's stored reply the content is, as a JSON pointer."""


@dataclass(frozen=True, slots=True)
class FileDraft:
    """A file that is to be committed. The artifacts service writes the summary if it is empty."""

    run_id: str
    step: str
    name: str
    item: int = 0
    visit: int = 1
    summary: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    file_type: str = "application/json"
    repeatable: bool = False
    """Whether another attempt at the same step makes the same bytes of the same inputs."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A committed file of a step."""

    path: str
    digest: str
    name: str
    """Within the step."""
    item: int
    visit: int


@dataclass(frozen=True, slots=True)
class FileCopy:
    """A committed file that is to be copied as it is."""

    file: StoredFile
    run_id: str
    step: str
    name: str
    item: int


def parse_json(data: bytes) -> JsonValue:
    """Return the value that a file holds. Raises StepImpossible when it holds none."""
    try:
        return parse(data)
    except NotJson as error:
        message = f"a file holds no JSON value that can be read: {error}"
        raise StepImpossible("NOT_JSON", message) from None


def output_name(ref: StepRef) -> str:
    """Return the name of an output within its step.

    The one that a loop leaves behind is no visit's: it is copied there in the end.
    """
    whole = (ref.item, ref.visit, ref.looped) == (0, 1, False)
    return OUTPUT if whole else f"artifacts/{ref.item}-{ref.visit}/{OUTPUT}"


def reply_name(ref: StepRef, call: int) -> str:
    """Return the name of the file with the content of a node's call within its step."""
    return f"artifacts/{ref.item}-{ref.visit}/replies/{call}.json"


def error_name(item: int, visit: int, attempt: int) -> str:
    """Return the name of the file with an attempt's error within its step."""
    return f"artifacts/{item}-{visit}/error-{attempt}.json"
