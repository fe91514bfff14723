"""JSON values: what replies, schemas and pointed-to files are made of."""

from __future__ import annotations

import json
import re
from typing import TypeAlias, cast

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None
JsonObject: TypeAlias = dict[str, Json]


_INDEX = re.compile(r"0|[1-9][0-9]{0,9}")


class NotJson(Exception):
    """The text is no JSON value."""


class NothingThere(Exception):
    """A JSON pointer leads to nothing."""


def parse(content: str | bytes) -> Json:
    """Read one JSON value. Raises NotJson, also for NaN and the infinities."""
    try:
        text = content if isinstance(content, str) else content.decode()
        return cast("Json", _decoder.decode(text))
    except (ValueError, RecursionError) as error:
        raise NotJson(type(error).__name__) from None


def parse_object(content: str | bytes) -> JsonObject:
    """Read one JSON object. Raises NotJson."""
    value = parse(content)
    if not isinstance(value, dict):
        raise NotJson("not an object")
    return value


def compact(value: Json) -> str:
    """Write a JSON value in its shortest form."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def canonical(value: Json) -> str:
    """Write a JSON value so that equal values are written alike."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def at(document: Json, pointer: str) -> Json:
    """Return the value that a JSON pointer (RFC 6901) leads to. Raises NothingThere."""
    value = document
    for step in pointer.split("/")[1:]:
        value = _child(value, step.replace("~1", "/").replace("~0", "~"))
    return value


def scalar_text(text: str) -> str:
    """Return a text whose surrogates are paired or replaced, so that it can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _child(value: Json, name: str) -> Json:
    if isinstance(value, dict) and name in value:
        return value[name]
    if isinstance(value, list) and _INDEX.fullmatch(name) and int(name) < len(value):
        return value[int(name)]
    raise NothingThere(name)


def _refuse(constant: str) -> None:
    raise ValueError(constant)


_decoder = json.JSONDecoder(parse_constant=_refuse)
