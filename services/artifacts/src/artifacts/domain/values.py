"""Extraction of JSON values from a file by JSON pointers (RFC 6901)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jsonvalues import NothingThere, NotJson, PointerMalformed, at, compact, parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jsonvalues import Json


def extract_values(
    body: bytes, json_pointers: Sequence[str], limit: int | None
) -> list[bytes | str | None]:
    """Return the values at some pointers as compact JSON; numbers keep their text.

    A `str` says why there is no value. None stands for the first value that exceeds `limit` bytes
    together with those before, and for all after it.
    """
    try:
        document = parse(body)
    except NotJson as error:
        return [f"of the file: {error}"] * len(json_pointers)
    found: list[bytes | str | None] = []
    left = limit
    for json_pointer in json_pointers:
        value = _value(document, json_pointer)
        if left is not None and isinstance(value, bytes):
            left -= len(value)
            if left < 0:
                break
        found.append(value)
    return found + [None] * (len(json_pointers) - len(found))


def _value(document: Json, json_pointer: str) -> bytes | str:
    try:
        # A string may have half of a surrogate pair, which only an escape can express.
        return compact(at(document, json_pointer)).encode("utf-8", "backslashreplace")
    except PointerMalformed:
        return "it begins with / and has ~ only in ~0 and ~1"
    except NothingThere:
        return "the file holds nothing there"
    except NotJson as error:
        return f"of the value: {error}"
