"""Writing JSON, in its shortest form."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from jsonvalues.values import NotJson, Number

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from jsonvalues.values import JsonValue

_PLAIN = frozenset({str, int, float, bool, type(None)})


def compact(value: JsonValue) -> str:
    """Write a value without spaces, members in their order, only what must be escaped.

    The text holds half of a surrogate pair where a string of the value does. Raises NotJson for
    NaN, the infinities, what no JSON value is made of, and what is nested too deeply.
    """
    return _AS_IT_IS.write(value)


def canonical(value: JsonValue, *, ascii_only: bool = False) -> bytes:
    """Write a value as `compact` does with its names sorted, in UTF-8: equal values, equal bytes.

    With `ascii_only` everything else is escaped. Raises NotJson, without it also for half of a
    surrogate pair. Numbers are equal if they are written alike.
    """
    text = (_SORTED_ASCII if ascii_only else _SORTED).write(value)
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise NotJson("a string holds half of a surrogate pair") from None


class _Writer:
    def __init__(self, *, sort_keys: bool, ensure_ascii: bool) -> None:
        self._sorted = sort_keys
        encoder = json.JSONEncoder(
            ensure_ascii=ensure_ascii,
            allow_nan=False,
            separators=(",", ":"),
            sort_keys=sort_keys,
        )
        self._encode = encoder.encode

    def write(self, value: JsonValue) -> str:
        try:
            if not _holds_numbers(value):
                return self._encode(value)
            pieces: list[str] = []
            self._write(value, pieces.append)
            return "".join(pieces)
        except TypeError as error:
            raise NotJson(f"JSON has no such value ({error})"[:200]) from None
        except ValueError:
            raise NotJson("it holds NaN, Infinity, itself, or too long a number") from None
        except RecursionError:
            raise NotJson("it is nested too deeply") from None

    def _write(self, value: JsonValue, put: Callable[[str], None]) -> None:
        # json's own encoder writes every float in Python's way.
        match value:
            case Number():
                put(value.text)
            case dict():
                put("{")
                members = cast("Mapping[Any, JsonValue]", value)
                names: Iterable[Any] = sorted(members) if self._sorted else members
                for position, name in enumerate(names):
                    put("," if position else "")
                    put(self._name(name))
                    self._write(members[name], put)
                put("}")
            case list() | tuple():
                put("[")
                for position, member in enumerate(value):
                    put("," if position else "")
                    self._write(member, put)
                put("]")
            case _:
                put(self._encode(value))

    def _name(self, name: str | float | None) -> str:
        """Return a name with its colon: json writes numbers and so on as texts there."""
        return self._encode({name: 0})[1:-2]


def _holds_numbers(value: object) -> bool:
    """Tell whether a Number is inside. Most values have none, and are written the fast way."""
    if isinstance(value, dict):
        inner = cast("Collection[object]", value.values())
    elif isinstance(value, (list, tuple)):
        inner = cast("Collection[object]", value)
    else:
        return isinstance(value, Number)
    if _PLAIN.issuperset(map(type, inner)):
        return False
    return any(type(each) not in _PLAIN and _holds_numbers(each) for each in inner)


_AS_IT_IS = _Writer(sort_keys=False, ensure_ascii=False)
_SORTED = _Writer(sort_keys=True, ensure_ascii=False)
_SORTED_ASCII = _Writer(sort_keys=True, ensure_ascii=True)
