"""The JSON schema that a reply must fit (JSON Schema 2020-12)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from outputschema.fit import SchemaMismatch, check_value
from outputschema.rule import SchemaUnusable, check_schema
from servicekit.errors import RequestInvalid, Violation

if TYPE_CHECKING:
    from jsonvalues import Json, JsonObject

__all__ = ["OutputSchema", "SchemaMismatch"]

_FIELD = "spec.output_schema"


@dataclass(frozen=True, slots=True)
class OutputSchema:
    """A valid schema whose references all lead inside it."""

    definition: JsonObject

    @classmethod
    def parse(cls, definition: JsonObject) -> OutputSchema:
        """Check a schema. Raises RequestInvalid, by the rule that runs applies to pipelines too."""
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
