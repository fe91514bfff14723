"""Reading JSON: RFC 8259."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, NoReturn, TypeVar, cast

from jsonvalues.values import NameTwice, NotJson, Number

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jsonvalues.values import Json, JsonObject

_DIGITS = 640
"""Python parses and writes integers of this many digits under any `int_max_str_digits`."""

_BYTE_ORDER_MARK = "\ufeff"

NumberT = TypeVar("NumberT", bound=float)


def parse(content: str | bytes) -> Json:
    """Read one JSON value; numbers are kept to the letter.

    Of members with the same name the last counts, and a string may hold half of a surrogate pair.
    Raises NotJson, also for NaN, the infinities, and bytes that are no UTF-8.
    """
    return _parse(content, _decoder)


def parse_object(content: str | bytes) -> JsonObject:
    """Read one JSON object as `parse` does. Raises NotJson."""
    value = parse(content)
    if not isinstance(value, dict):
        raise NotJson("it is no object")
    return value


def parse_strict(
    content: str | bytes, *, levels: int | None = None, names_once: bool = True
) -> Json:
    """Read one JSON value that every program reads alike, nested at most `levels` deep.

    Raises NotJson also for half of a surrogate pair, for a number that is larger than any double,
    and, unless `names_once` is false, for a name that comes twice in an object (NameTwice).
    """
    text = _text(content)
    value = _parse(text, _strict_decoder if names_once else _finite_decoder)
    if levels is not None and _deeper(value, levels):
        raise NotJson(f"it is nested more than {levels} levels deep")
    if "\\" in text or not text.isascii():
        _check_surrogates(value)
    return value


def scalar_text(text: str) -> str:
    """Return a text whose surrogates are paired or replaced, so that it can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _parse(content: str | bytes, decoder: json.JSONDecoder) -> Json:
    text = _text(content)
    try:
        return cast("Json", decoder.decode(text))
    except json.JSONDecodeError as error:
        if text.startswith(_BYTE_ORDER_MARK):
            raise NotJson("it begins with a byte order mark") from None
        place = f"line {error.lineno}, column {error.colno}"
        raise NotJson(f"it is not valid JSON at {place}") from None
    except RecursionError:
        raise NotJson("it is nested too deeply") from None


def _text(content: str | bytes) -> str:
    try:
        return content if isinstance(content, str) else content.decode()
    except UnicodeDecodeError:
        raise NotJson("it is no UTF-8") from None


def _check_surrogates(value: Json) -> None:
    try:
        for text in _strings(value):
            text.encode()
    except UnicodeEncodeError:
        raise NotJson("a string holds half of a surrogate pair") from None


def _deeper(value: Json, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper(each, levels - 1) for each in inner)


def _strings(value: Json) -> Iterable[str]:
    waiting: list[Json] = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            yield from value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _integer(text: str) -> int | Number:
    return int(text) if len(text) <= _DIGITS and text != "-0" else Number(text)


def _fraction(text: str) -> float:
    number = float(text)
    return number if repr(number) == text else Number(text)


def _finite_integer(text: str) -> int | Number:
    return _finite(_integer(text))


def _finite_fraction(text: str) -> float:
    return _finite(_fraction(text))


def _finite(number: NumberT) -> NumberT:
    try:
        finite = math.isfinite(number)
    except OverflowError:  # an int
        finite = False
    if not finite:
        raise NotJson("a number is larger than any that programs can hold")
    return number


def _refuse(constant: str) -> NoReturn:
    raise NotJson(f"{constant} is no number of JSON")


def _members(pairs: list[tuple[str, Json]]) -> JsonObject:
    members = dict(pairs)
    if len(members) < len(pairs):
        seen: set[str] = set()
        raise NameTwice(next(name for name, _ in pairs if name in seen or seen.add(name)))
    return members


_decoder = json.JSONDecoder(parse_float=_fraction, parse_int=_integer, parse_constant=_refuse)
_finite_decoder = json.JSONDecoder(
    parse_float=_finite_fraction, parse_int=_finite_integer, parse_constant=_refuse
)
_strict_decoder = json.JSONDecoder(
    object_pairs_hook=_members,
    parse_float=_finite_fraction,
    parse_int=_finite_integer,
    parse_constant=_refuse,
)
