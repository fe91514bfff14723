"""What a caller tells of a schema in words, which a model follows.

A description may end in `{minItems: 3, maxItems: 4}`, as the providers' SDKs write what a schema
may not say; the values are JSON. A prompt may hold a whole schema.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from llmstub.domain import JsonObject

_DECODER = json.JSONDecoder()
_HINTS = re.compile(r"\{([A-Za-z$]\w*: .*)\}\s*$", re.DOTALL)
_NAME = re.compile(r"(?:, )?([A-Za-z$]\w*): ")
_WHOLE = re.compile(r"JSON Schema:\s*(?=\{)")


def with_hints(schema: object) -> object:
    """Return a schema with what its descriptions tell of besides."""
    if isinstance(schema, list):
        return [with_hints(each) for each in cast("list[object]", schema)]
    if not isinstance(schema, dict):
        return schema
    node = {name: with_hints(value) for name, value in cast("JsonObject", schema).items()}
    description = node.get("description")
    hints = _hints(description) if isinstance(description, str) else {}
    return {**hints, **node}


def schema_in(prompt: str) -> JsonObject | None:
    """Return the schema that a prompt tells of; None when it tells of none."""
    found = _WHOLE.search(prompt)
    if found is None:
        return None
    try:
        value, _ = _DECODER.raw_decode(prompt, found.end())
    except ValueError:
        return None
    return cast("JsonObject", value) if isinstance(value, dict) else None


def _hints(description: str) -> JsonObject:
    found, hints, at = _HINTS.search(description), dict[str, object](), 0
    text = found[1] if found else ""
    while name := _NAME.match(text, at):
        try:
            hints[name[1]], at = _DECODER.raw_decode(text, name.end())
        except ValueError:
            break
    return hints
