"""Replies of models, as the llm-gateway sends them: JSON objects whose `content` is an output."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from jsonvalues import (
    NotANumber,
    NothingThere,
    NotJson,
    PointerMalformed,
    at,
    compact,
    parse_object,
    plain_number,
)
from runs.domain.failures import StepFailed, StepImpossible

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jsonvalues import JsonValue

REPLY_LIMIT = 16 << 20
"""The longest reply, in bytes, of which a step commits the content."""


def read_reply(
    body: bytes, digest: str, metrics: Mapping[str, str]
) -> tuple[bytes, dict[str, float]]:
    """Return a reply's content in its shortest form, and the metrics, JSON pointers by name, in it.

    Raises StepFailed for a body of another sha256 than `digest`, and StepImpossible for what is no
    reply and for a metric that is no number.
    """
    if hashlib.sha256(body).hexdigest() != digest:
        raise StepFailed("REPLY_CORRUPT", "the reply that came is not the one that was stored")
    try:
        content = parse_object(body)["content"]
        # A string may have half of a surrogate pair, which only an escape can express.
        data = compact(content).encode("utf-8", "backslashreplace")
    except NotJson as error:
        raise StepImpossible("NOT_JSON", f"the reply cannot be read: {error}") from None
    except KeyError:
        raise StepImpossible("NOT_JSON", "the reply has no content") from None
    return data, {name: _number(content, name, at_) for name, at_ in metrics.items()}


def _number(content: JsonValue, name: str, json_pointer: str) -> float:
    try:
        return plain_number(at(content, json_pointer))
    except NotANumber:
        raise StepImpossible(
            "METRIC_NOT_A_NUMBER", f"the output holds no number for {name}"
        ) from None
    except PointerMalformed:
        why = "it begins with / and has ~ only in ~0 and ~1"
    except NothingThere:
        why = "the output holds nothing there"
    raise StepImpossible("POINTER_INVALID", f"the JSON pointer {json_pointer!r} of {name}: {why}")
