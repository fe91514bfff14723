"""Reading the JSON object of a request field by field.

A field of the wrong type raises RequestRefused(400) with its path; one that is absent or null is
None.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from llmstub.domain import RequestRefused

if TYPE_CHECKING:
    from llmstub.domain import JsonObject


class JsonFields:
    """One JSON object and its path inside the request."""

    def __init__(self, value: object, path: str = "") -> None:
        if not isinstance(value, dict):
            raise RequestRefused(400, f"{path or 'the request body'}: expected an object", path)
        self.raw = cast("JsonObject", value)
        self._path = path

    def path(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def required(self, name: str) -> object:
        value = self.raw.get(name)
        if value is None:
            raise RequestRefused(400, f"{self.path(name)}: field required", self.path(name))
        return value

    def text(self, name: str) -> str | None:
        value = self.raw.get(name)
        if value is not None and not isinstance(value, str):
            raise self._wrong(name, "a string")
        return value

    def integer(self, name: str, least: int = 0) -> int | None:
        value = self.raw.get(name)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong(name, "an integer")
        if value < least:
            raise self._wrong(name, f"at least {least}")
        return value

    def flag(self, name: str) -> bool:
        value = self.raw.get(name)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(name, "true or false")
        return bool(value)

    def one_of(self, name: str, *values: str) -> None:
        """Refuse a string that is none of the values."""
        value = self.text(name)
        if value is not None and value not in values:
            raise self._wrong(name, " or ".join(map(repr, values)))

    def child(self, name: str) -> JsonFields | None:
        value = self.raw.get(name)
        return None if value is None else JsonFields(value, self.path(name))

    def children(self, name: str) -> list[JsonFields]:
        path = self.path(name)
        return [JsonFields(item, f"{path}.{n}") for n, item in enumerate(self.items(name))]

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of strings; a single string is a list of one."""
        value = self.raw.get(name)
        items = [value] if isinstance(value, str) else self.items(name)
        if not all(isinstance(item, str) for item in items):
            raise self._wrong(name, "strings")
        return tuple(cast("list[str]", items))

    def items(self, name: str) -> list[object]:
        value = self.raw.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self._wrong(name, "an array")
        return cast("list[object]", value)

    def _wrong(self, name: str, expected: str) -> RequestRefused:
        return RequestRefused(400, f"{self.path(name)}: expected {expected}", self.path(name))
