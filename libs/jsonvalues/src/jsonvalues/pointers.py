"""JSON pointers: RFC 6901."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jsonvalues.values import JsonValue

_INDEX = re.compile(r"0|[1-9][0-9]{0,15}")
_STRAY_TILDE = re.compile(r"~(?![01])")


class NothingThere(Exception):
    """A JSON pointer leads to nothing."""


class PointerMalformed(NothingThere):
    """A text is no JSON pointer: it begins with `/` or is empty, and has ~ only in ~0 and ~1."""


def at(value: JsonValue, pointer: str) -> JsonValue:
    """Return the value that a pointer leads to. Raises NothingThere and PointerMalformed.

    `-`, which stands for the element after the last, leads to nothing.
    """
    for token in _tokens(pointer):
        value = _child(value, token)
    return value


def _tokens(pointer: str) -> list[str]:
    if not pointer:
        return []
    if not pointer.startswith("/") or _STRAY_TILDE.search(pointer):
        raise PointerMalformed
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer[1:].split("/")]


def _child(value: JsonValue, token: str) -> JsonValue:
    if isinstance(value, Mapping) and token in value:
        return value[token]
    if isinstance(value, Sequence) and not isinstance(value, str):
        index = int(token) if _INDEX.fullmatch(token) else len(value)
        if index < len(value):
            return value[index]
    raise NothingThere
