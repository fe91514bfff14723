"""Whether a value fits a schema that `check_schema` has accepted, within bounded work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, cast

from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError

from outputschema.rule import NOTHING_OUTSIDE

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping

    from jsonschema.protocols import Validator

    Keyword: TypeAlias = Callable[[Validator, Any, Any, Any], Iterator[ValidationError]]

WORK = 250_000
"""The most work that a check may be: keywords that are evaluated, and what they look at."""

_AT_A_TIME = 8
"""Members of a list or an object that are looked at in the time that a keyword takes."""

_extend = cast("Callable[..., Callable[..., Validator]]", validators.extend)  # has no types


class SchemaMismatch(Exception):
    """A value does not fit the schema; the message says where, and quotes nothing of the value."""


def check_value(definition: Mapping[str, object], value: object) -> None:
    """Raise SchemaMismatch if a value does not fit, or if to find out takes too much work."""
    try:
        error = next(_Work().validator(definition).iter_errors(cast("Any", value)), None)
    except RecursionError:
        raise SchemaMismatch("the reply or the schema is nested too deeply") from None
    except ArithmeticError:
        raise SchemaMismatch("a number is too large to be checked") from None
    if error is not None:
        # Names of properties may come from the reply; depth and keyword do not.
        place = len(error.absolute_path)
        raise SchemaMismatch(f"a value {place} levels deep breaks {error.validator!r}")


class _Work:
    """Counts the work of one check."""

    def __init__(self) -> None:
        self._left = WORK
        self._known: dict[int, frozenset[Hashable]] = {}

    def validator(self, definition: Mapping[str, object]) -> Validator:
        keywords = cast("dict[str, Keyword]", dict(Draft202012Validator.VALIDATORS))
        counted = {name: self._counted(follow) for name, follow in keywords.items()}
        # These count by themselves, and compare by hash what the library compares one by one.
        counted |= {"enum": self._enum, "const": self._const, "uniqueItems": self._unique}
        return _extend(Draft202012Validator, counted)(definition, registry=NOTHING_OUTSIDE)

    def _counted(self, follow: Keyword) -> Keyword:
        def check(
            validator: Validator, wanted: object, value: object, schema: object
        ) -> Iterator[ValidationError]:
            self._spend(1 + (_length(wanted) + _length(value)) // _AT_A_TIME)
            yield from follow(validator, wanted, value, schema) or ()

        return check

    def _spend(self, units: int) -> None:
        self._left -= units
        if self._left < 0:
            raise SchemaMismatch("checking it takes too long")

    def _enum(
        self, _: Validator, allowed: list[object], value: object, __: object
    ) -> Iterator[ValidationError]:
        if self._frozen(value) not in self._all(allowed):
            yield ValidationError("is not one of the values of enum")

    def _const(
        self, _: Validator, wanted: object, value: object, __: object
    ) -> Iterator[ValidationError]:
        if self._frozen(value) != self._frozen(wanted):
            yield ValidationError("is not the value of const")

    def _unique(
        self, _: Validator, wanted: object, value: object, __: object
    ) -> Iterator[ValidationError]:
        if wanted and isinstance(value, list):
            items = cast("list[object]", value)
            if len({self._frozen(item) for item in items}) < len(items):
                yield ValidationError("has items that are the same")

    def _all(self, allowed: list[object]) -> frozenset[Hashable]:
        known = self._known.get(id(allowed))
        if known is None:
            known = self._known[id(allowed)] = frozenset(map(self._frozen, allowed))
        return known

    def _frozen(self, value: object) -> Hashable:
        """Return what is equal, and has the same hash, for values that are equal in JSON schema.

        1 and 1.0 are equal, True and 1 are not.
        """
        self._spend(1)
        if isinstance(value, bool):
            return ("boolean", value)
        if isinstance(value, dict):
            members = cast("dict[str, object]", value)
            return ("object", frozenset((n, self._frozen(v)) for n, v in members.items()))
        if isinstance(value, list):
            return ("array", tuple(map(self._frozen, cast("list[object]", value))))
        return cast("Hashable", value)


def _length(value: object) -> int:
    return len(cast("list[object]", value)) if isinstance(value, list | dict) else 0
