"""JSON values inside files, by RFC 6901, in their shortest form.

What is kept: the order of members, numbers to the letter (`1.0`, `1e400`, `-0`, any length), and
strings as text in UTF-8 without escapes but those that JSON demands. What is not: white space, how
a string was escaped, and all but the last of members with the same name.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NoReturn, TypeAlias, Union

from artifacts.errors import PointerInvalid

if TYPE_CHECKING:
    from collections.abc import Callable

Value: TypeAlias = Union["dict[str, Value]", "list[Value]", "_Number", str, int, bool, None]

_INDEX = re.compile(r"0|[1-9][0-9]{0,15}")
_STRAY_TILDE = re.compile(r"~(?![01])")
_PLAIN_DIGITS = 300


class _Number:
    """A number that Python's own would not write as it was read."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


class Document:
    """A JSON file, parsed once for any number of pointers."""

    def __init__(self, body: bytes) -> None:
        self._root: Value = None
        self._fault = ""
        try:
            self._root = _DECODER.decode(body.decode())
        except UnicodeDecodeError:
            self._fault = "the file is not UTF-8"
        except json.JSONDecodeError as error:
            self._fault = f"the file is no JSON (line {error.lineno}, column {error.colno})"
        except ValueError:
            self._fault = "the file is no JSON (NaN and Infinity are not)"
        except RecursionError:
            self._fault = "the file is nested too deeply"

    def value(self, json_pointer: str) -> bytes:
        """Return the value at a pointer in its shortest form. Raises PointerInvalid."""
        if self._fault:
            raise PointerInvalid(json_pointer, self._fault)
        found = self._root
        for token in _tokens(json_pointer):
            found = _step(found, token, json_pointer)
        try:
            text = _shortest(found)
        except RecursionError:
            raise PointerInvalid(json_pointer, "the value is nested too deeply") from None
        # A string may hold half of a surrogate pair, which only an escape can write.
        return text.encode("utf-8", "backslashreplace")


def _tokens(json_pointer: str) -> list[str]:
    if not json_pointer:
        return []
    if not json_pointer.startswith("/") or _STRAY_TILDE.search(json_pointer):
        raise PointerInvalid(json_pointer, "it begins with / and has ~ only in ~0 and ~1")
    raw = json_pointer[1:].split("/")
    return [token.replace("~1", "/").replace("~0", "~") for token in raw]


def _step(value: Value, token: str, json_pointer: str) -> Value:
    if isinstance(value, dict) and token in value:
        return value[token]
    if isinstance(value, list) and _INDEX.fullmatch(token) and int(token) < len(value):
        return value[int(token)]
    raise PointerInvalid(json_pointer, "the file holds nothing there")


def _integer(text: str) -> int | _Number:
    # Python refuses integers of thousands of digits, and has no minus nought.
    return int(text) if len(text) < _PLAIN_DIGITS and text != "-0" else _Number(text)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


_DECODER = json.JSONDecoder(parse_float=_Number, parse_int=_integer, parse_constant=_refuse)
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_STRING = _ENCODER.encode


def _shortest(value: Value) -> str:
    try:
        return _ENCODER.encode(value)
    except TypeError:  # some _Number is inside; the fast encoder cannot write it
        pieces: list[str] = []
        _write(value, pieces.append)
        return "".join(pieces)


def _write(value: Value, put: Callable[[str], None]) -> None:
    match value:
        case _Number():
            put(value.text)
        case dict():
            put("{")
            for position, (name, member) in enumerate(value.items()):
                put(f"{',' if position else ''}{_STRING(name)}:")
                _write(member, put)
            put("}")
        case list():
            put("[")
            for position, member in enumerate(value):
                if position:
                    put(",")
                _write(member, put)
            put("]")
        case _:
            put(_STRING(value))
