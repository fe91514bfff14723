"""Texts of errors."""

from __future__ import annotations

import json
import traceback
from dataclasses import asdict, dataclass
from typing import cast

_WHOLE = 1 << 20
_EXCERPT = 128 << 10  # three such texts fit, even if each character takes six bytes


@dataclass(frozen=True, slots=True)
class ErrorText:
    """The text of an error. It may hold anything, so it goes into a file and no message."""

    type: str
    message: str
    traceback: str = ""
    output: str = ""
    """The end of what a function wrote to standard output and standard error."""

    @classmethod
    def of(cls, error: BaseException) -> ErrorText:
        try:
            message = str(error)
        except Exception:  # a function's error may have any defect
            message = "the error cannot be put into words"
        return cls(type(error).__name__, message, "".join(traceback.format_exception(error)))

    @classmethod
    def parse(cls, data: bytes) -> ErrorText:
        """Read what `encoded` has written. Raises ValueError."""
        value: object = json.loads(data)
        if not isinstance(value, dict):
            raise ValueError("no object")
        fields = cast("dict[str, object]", value)
        return cls(*(str(fields.get(name, "")) for name in cls.__dataclass_fields__))

    def encoded(self, limit: int) -> bytes:
        """Return the text as a JSON file of at most so many bytes, 3 MiB or more."""
        data = self._cut(_WHOLE)
        return data if len(data) <= limit else self._cut(_EXCERPT)

    def _cut(self, length: int) -> bytes:
        fields = {name: text[:length] for name, text in asdict(self).items()}
        return json.dumps(fields, ensure_ascii=False).encode(errors="replace")
