"""Instances of JSON schemas, filled with phrases about the prompt."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

from llmstub.domain import Refused
from llmstub.replies import schema as schemas
from llmstub.replies import strings

if TYPE_CHECKING:
    from llmstub.domain import JsonObject
    from llmstub.replies.phrases import Phrases

_ITEMS = 3  # of an array that does not say
_TERSE_DEPTH = 8  # below it, only what is required
_DEEPEST = 40
_TRIES = 100  # for an item that differs from those before
_SPAN = 9  # how far above its minimum an integer may lie


def instance(schema: JsonObject, phrases: Phrases, target: int) -> object:
    """Return a value that the schema allows; long texts share about `target` tokens.

    Raises Refused(400) where the schema cannot be satisfied or is not understood.
    """
    return _Maker(schema, phrases, target).value(schema, "", 0)


class _Maker:
    def __init__(self, root: JsonObject, phrases: Phrases, target: int) -> None:
        self._root = root
        self._phrases = phrases
        self._random = phrases.random
        self._target = target

    def value(self, given: object, name: str, depth: int) -> object:
        if depth > _DEEPEST:
            raise Refused(400, "schema: recursion without an end", "schema")
        schema = self._chosen(schemas.resolved(self._root, given), depth)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._enum(schema)
        kind = schemas.type_of(schema, terse=depth > _TERSE_DEPTH)
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, name, depth)
            case "integer":
                return self._integer(schema)
            case "number":
                return self._number(schema)
            case "boolean":
                return self._random.random() < 0.5
            case "null":
                return None
            case "string":
                return strings.text(schema, name, self._phrases, self._share(depth))
            case _:
                raise Refused(400, f"schema: unknown type {kind!r}", "schema")

    def _chosen(self, schema: JsonObject, depth: int) -> JsonObject:
        """Return the schema with one of its alternatives merged in: the first that is not null."""
        while True:
            keyword = next((name for name in ("anyOf", "oneOf") if name in schema), "")
            if not keyword:
                return schema
            branches = [
                schemas.resolved(self._root, each) for each in schemas.elements(schema, keyword)
            ]
            if not branches:
                raise Refused(400, f"schema: {keyword} without alternatives", "schema")
            nothing = [branch for branch in branches if branch.get("type") == "null"]
            useful = [branch for branch in branches if branch.get("type") != "null"]
            first = nothing + useful if depth > _TERSE_DEPTH else useful + nothing
            rest = {name: part for name, part in schema.items() if name != keyword}
            schema = schemas.resolved(self._root, schemas.merged(rest, first[0]))

    def _enum(self, schema: JsonObject) -> object:
        values = schemas.elements(schema, "enum")
        useful = [value for value in values if value is not None] or values
        if not useful:
            raise Refused(400, "schema: enum without values", "schema")
        return self._random.choice(useful)

    def _object(self, schema: JsonObject, depth: int) -> JsonObject:
        properties = schemas.objects(schema, "properties")
        required = [str(name) for name in schemas.elements(schema, "required")]
        extra = schema.get("additionalProperties", True)
        optional = [] if depth > _TERSE_DEPTH else [p for p in properties if p not in required]
        most = schemas.integer(schema, "maxProperties")
        kept = set(required) | set(
            optional[: None if most is None else max(0, most - len(required))]
        )
        order = [str(name) for name in schemas.elements(schema, "propertyOrdering")]
        names = [name for name in dict.fromkeys([*order, *properties, *required]) if name in kept]
        if extra is not False:
            names += self._more_names(schema, names, is_map=not properties and extra is not True)
        return {name: self.value(properties.get(name, extra), name, depth + 1) for name in names}

    def _more_names(self, schema: JsonObject, names: list[str], *, is_map: bool) -> list[str]:
        wanted = max(schemas.integer(schema, "minProperties") or 0, 2 if is_map else 0)
        most = schemas.integer(schema, "maxProperties")
        wanted = wanted if most is None else min(wanted, most)
        pool = [*dict.fromkeys(self._phrases.brief.words), *(f"field_{n}" for n in range(wanted))]
        return [name for name in pool if name not in names][: max(0, wanted - len(names))]

    def _array(self, schema: JsonObject, name: str, depth: int) -> list[object]:
        prefix = schemas.elements(schema, "prefixItems")
        rest = schema.get("items", True)
        least = schemas.integer(schema, "minItems") or 0
        most = schemas.integer(schema, "maxItems")
        wanted = 0 if depth > _TERSE_DEPTH else (self._phrases.brief.asked(name) or _ITEMS)
        if prefix:
            wanted = len(prefix)
        count = max(least, wanted if most is None else min(wanted, most))
        if rest is False:
            count = min(count, len(prefix))
        items: list[object] = []
        for n in range(count):
            given = prefix[n] if n < len(prefix) else rest
            item = self.value(given, name, depth + 1)
            if schema.get("uniqueItems") is True:
                item = self._other(item, items, given, name, depth)
            if item is not _NONE:
                items.append(item)
        if len(items) < least:
            raise Refused(400, f"schema: no {least} different items for {name!r}", "schema")
        return items

    def _other(
        self, item: object, items: list[object], given: object, name: str, depth: int
    ) -> object:
        for _ in range(_TRIES):
            if item not in items:
                return item
            item = self.value(given, name, depth + 1)
        return _NONE

    def _integer(self, schema: JsonObject) -> int:
        # the multiples of p/q that are integers are the multiples of p
        step = _fraction(schema, "multipleOf", "1").numerator
        low, high = _bounds(schema)
        least = math.ceil((Fraction(1) if low is None else low) / step)
        most = least + _SPAN if high is None else math.floor(high / step)
        if low is None and most < least:
            least = most - _SPAN
        if most < least:
            raise Refused(400, "schema: no integer between minimum and maximum", "schema")
        return step * self._random.randint(least, min(most, least + _SPAN))

    def _number(self, schema: JsonObject) -> float:
        if "multipleOf" in schema:
            step = _fraction(schema, "multipleOf", "1")
            scaled = {
                name: _fraction(schema, name, "0") / step
                for name in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
                if name in schema
            }
            return float(step * self._integer({**scaled}))
        low, high = _bounds(schema, strict=False)
        bottom = low if low is not None else Fraction(0) if high is None or high > 0 else high - 1
        top = high if high is not None else bottom + 1
        if top < bottom:
            raise Refused(400, "schema: no number between minimum and maximum", "schema")
        share = Fraction(self._random.randint(1, 99), 100)
        exact = bottom + (top - bottom) * share
        short = round(float(exact), 2)
        return short if bottom < short < top else float(exact)

    def _share(self, depth: int) -> int:
        return self._target // max(1, 2 ** (depth - 1))


_NONE = object()


def _fraction(schema: JsonObject, name: str, default: str) -> Fraction:
    return Fraction(str(schema.get(name, default)))


def _bounds(schema: JsonObject, *, strict: bool = True) -> tuple[Fraction | None, Fraction | None]:
    """Return the least and the greatest value; with `strict`, the integers next to open bounds."""
    lows = [_fraction(schema, "minimum", "0")] if "minimum" in schema else []
    highs = [_fraction(schema, "maximum", "0")] if "maximum" in schema else []
    if "exclusiveMinimum" in schema:
        bound = _fraction(schema, "exclusiveMinimum", "0")
        lows.append(Fraction(math.floor(bound) + 1) if strict else bound)
    if "exclusiveMaximum" in schema:
        bound = _fraction(schema, "exclusiveMaximum", "0")
        highs.append(Fraction(math.ceil(bound) - 1) if strict else bound)
    return max(lows, default=None), min(highs, default=None)
