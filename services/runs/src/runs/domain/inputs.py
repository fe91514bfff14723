"""Inputs of runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from jsonvalues import JsonValue, canonical, exact_in_protobuf, parse
from runs.domain.pipelines import INPUT
from runs.errors import InputInvalid
from servicekit.errors import RequestInvalid, Violation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jsonvalues import JsonMapping

INLINE_LIMIT = 65_536
"""The most bytes that an inline input may take in its shortest form; clients upload more."""

SETTINGS_LIMIT = 16_384
"""The most bytes of what a creator keeps with a run."""


@dataclass(frozen=True, slots=True)
class Inline:
    """A JSON value; the first activity writes it as the output of step `input`."""

    value: JsonValue


@dataclass(frozen=True, slots=True)
class Pointer:
    """A committed file of the tenant's, or a JSON value inside it; the first activity copies it."""

    path: str
    digest: str
    json_pointer: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """Nothing yet: the run waits until its input has been uploaded and StartRun is called."""


RunInput = Inline | Pointer | Held


def input_path(prefix: str, run_id: str) -> str:
    """Return where the input of a run lies; `prefix` is that of its tenant's paths."""
    return file_path(prefix, run_id, INPUT, "output.json")


def file_path(prefix: str, run_id: str, step: str, name: str) -> str:
    """Return where a file of a step lies; `prefix` is that of its tenant's paths."""
    return f"{prefix}/{run_id}/{step}/{name}"


def input_json(given: RunInput) -> dict[str, JsonValue]:
    """Return the part of a run's config that holds its input."""
    match given:
        case Inline(value):
            return to_stored_json("input", value)
        case Pointer():
            return {"pointer": asdict(given)}
        case Held():
            return {}


def to_stored_json(name: str, value: JsonValue) -> dict[str, JsonValue]:
    """Return the part of a run's config that holds a value.

    The column is JSONB, which writes numbers anew. Where that matters the text is kept beside it.
    """
    if exact_in_protobuf(value):
        return {name: value}
    return {name: value, f"{name}_json": canonical(value).decode()}


def from_stored_json(config: Mapping[str, Any], name: str) -> JsonValue:
    """Return the value that `to_stored_json` was called with. Raises KeyError."""
    text = config.get(f"{name}_json")
    return config[name] if text is None else parse(text)


def run_input(config: Mapping[str, Any]) -> RunInput:
    """Return the input that `input_json` was called with."""
    if "input" in config:
        return Inline(from_stored_json(config, "input"))
    return Pointer(**config["pointer"]) if "pointer" in config else Held()


def check_size(given: RunInput) -> None:
    """Raise InputInvalid if an inline input is too large."""
    size = len(canonical(given.value)) if isinstance(given, Inline) else 0
    if size > INLINE_LIMIT:
        raise InputInvalid(
            f"the inline input takes {size:,} bytes, at most {INLINE_LIMIT:,} are possible",
            size_bytes=str(size),
            limit_bytes=str(INLINE_LIMIT),
        )


def check_settings(settings: JsonMapping) -> None:
    """Raise RequestInvalid if what the creator wants to keep is too large."""
    size = len(canonical(settings))
    if size > SETTINGS_LIMIT:
        fault = f"it takes {size:,} bytes, at most {SETTINGS_LIMIT:,} are possible"
        raise RequestInvalid(f"config: {fault}", violations=[Violation("config", fault)])
