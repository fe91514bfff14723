"""JSON values, their shortest form, and digests over it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from runs.domain.failures import StepImpossible

JsonValue = None | bool | int | float | str | Sequence["JsonValue"] | Mapping[str, "JsonValue"]
JsonObject = Mapping[str, JsonValue]


def shortest(value: JsonValue) -> bytes:
    """Encode a value without spaces, with sorted names, as UTF-8: equal values, equal bytes."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return text.encode()


def parsed(data: bytes) -> JsonValue:
    """Return the value that a file holds. Raises StepImpossible when it holds none."""
    try:
        value: JsonValue = json.loads(data)
    except (ValueError, RecursionError):
        raise StepImpossible("NOT_JSON", "a file holds no JSON value that can be read") from None
    return value


def digest(value: JsonValue) -> str:
    """Return the sha256 of a value's shortest form, 64 lower-case hexadecimal digits."""
    return hashlib.sha256(shortest(value)).hexdigest()
