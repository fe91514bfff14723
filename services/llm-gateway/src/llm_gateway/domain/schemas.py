"""The JSON schema that a reply must fit."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import SchemaError, ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from servicekit.errors import RequestInvalid, Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jsonschema.protocols import Validator

    from jsonvalues import Json, JsonObject

_FIELD = "spec.output_schema"
_MAX_DEPTH = 64
_MAX_REFERENCES = 20_000
_REFERENCES = ("$ref", "$dynamicRef")
_PATTERNS = ("pattern", "patternProperties")
_OF_NAMES = ("properties", "dependentSchemas", "$defs", "definitions")
_OF_VALUES = ("enum", "const", "default", "examples")
_SPENT = object()
_NOTHING_OUTSIDE: Registry[Any] = Registry[Any]()  # nothing is ever fetched to check a reply

_extend = cast("Callable[..., Callable[..., Validator]]", validators.extend)  # has no types


class SchemaMismatch(Exception):
    """A value does not fit the schema; the message says where, and quotes nothing of the value."""


@dataclass(frozen=True, slots=True)
class OutputSchema:
    """A schema that has been checked: well formed, and every reference leads somewhere inside."""

    definition: JsonObject

    @classmethod
    def parse(cls, definition: JsonObject) -> OutputSchema:
        """Check a schema. Raises RequestInvalid.

        Patterns are refused: a matcher without a time limit would let one reply stop the process.
        """
        try:
            Draft202012Validator.check_schema(definition)
            resolver = _NOTHING_OUTSIDE.resolver_with_root(DRAFT202012.create_resource(definition))
            for keyword, value in _keywords(definition):
                if keyword in _PATTERNS:
                    raise _refused(f"{keyword} is not supported")
                if keyword in _REFERENCES:
                    resolver.lookup(str(value))
        except SchemaError as error:
            raise _refused(f"{error.json_path}: {error.message}"[:200]) from None
        except Unresolvable as error:
            raise _refused(f"{error.ref} leads nowhere inside the schema"[:200]) from None
        except RecursionError:
            raise _refused("it is nested too deeply") from None
        return cls(definition)

    def check(self, value: Json) -> None:
        """Raise SchemaMismatch if a value does not fit."""
        try:
            error = next(_validator(self.definition).iter_errors(value), None)
        except RecursionError:
            raise SchemaMismatch("the reply or the schema is nested too deeply") from None
        except ArithmeticError:
            raise SchemaMismatch("a number is too large to be checked") from None
        if error is not None:
            raise SchemaMismatch(_place(error))

    @property
    def strict(self) -> bool:
        """Whether every object names all its properties and requires them.

        Only then can a provider be told to hold the model to the schema strictly.
        """
        return all(
            node.get("additionalProperties") is False
            and _names(node.get("required")) == _names(node.get("properties", {}))
            for node in _nodes(self.definition)
            if "properties" in node or node.get("type") in ("object", ["object", "null"])
        )


def _validator(definition: JsonObject) -> Validator:
    """Return a validator that follows a bounded number of references.

    References are what lets a short schema ask for endless work.
    """
    left = itertools.repeat(None, _MAX_REFERENCES)

    def counted(keyword: str) -> Callable[..., Iterator[ValidationError]]:
        follow = Draft202012Validator.VALIDATORS[keyword]

        def check(*arguments: object) -> Iterator[ValidationError]:
            if next(left, _SPENT) is _SPENT:
                raise SchemaMismatch("checking it takes too long")
            yield from follow(*arguments)

        return check

    references = {keyword: counted(keyword) for keyword in _REFERENCES}
    return _extend(Draft202012Validator, references)(definition, registry=_NOTHING_OUTSIDE)


def _place(error: ValidationError) -> str:
    # Names of properties may come from the reply; depth and keyword do not.
    return f"a value {len(error.absolute_path)} levels deep breaks {error.validator!r}"


def _refused(problem: str) -> RequestInvalid:
    return RequestInvalid(
        f"the output schema cannot be used: {problem}", violations=(Violation(_FIELD, problem),)
    )


def _keywords(node: Json, depth: int = 0) -> Iterator[tuple[str, Json]]:
    """Yield every keyword with its value; the names of properties are none."""
    if depth > _MAX_DEPTH:
        raise RecursionError
    if isinstance(node, dict):
        for keyword, value in node.items():
            if keyword in _OF_NAMES and isinstance(value, dict):
                yield from _keywords(list(value.values()), depth + 1)
            elif keyword not in _OF_VALUES:
                yield keyword, value
                yield from _keywords(value, depth + 1)
    elif isinstance(node, list):
        for child in node:
            yield from _keywords(child, depth + 1)


def _nodes(node: Json) -> Iterator[JsonObject]:
    if isinstance(node, dict):
        yield node
        for child in node.values():
            yield from _nodes(child)
    elif isinstance(node, list):
        for child in node:
            yield from _nodes(child)


def _names(value: Json) -> set[str]:
    return {str(name) for name in value} if isinstance(value, dict | list) else set()
