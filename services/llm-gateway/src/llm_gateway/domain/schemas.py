"""The JSON schema that a reply must fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from outputschema.fit import SchemaMismatch, check_value
from outputschema.rule import SchemaUnusable, check_schema
from servicekit.errors import RequestInvalid, Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jsonvalues import Json, JsonObject

__all__ = ["OutputSchema", "SchemaMismatch"]

_FIELD = "spec.output_schema"


@dataclass(frozen=True, slots=True)
class OutputSchema:
    """A schema that has been checked: well formed, and every reference leads somewhere inside."""

    definition: JsonObject

    @classmethod
    def parse(cls, definition: JsonObject) -> OutputSchema:
        """Check a schema. Raises RequestInvalid for what runs refuses in a pipeline, too."""
        try:
            check_schema(definition)
        except SchemaUnusable as error:
            raise RequestInvalid(
                f"the output schema cannot be used: {error}",
                violations=(Violation(_FIELD, str(error)),),
            ) from None
        return cls(definition)

    def check(self, value: Json) -> None:
        """Raise SchemaMismatch if a value does not fit, or if to find out takes too much work."""
        check_value(self.definition, value)

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
