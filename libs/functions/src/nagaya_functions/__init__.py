"""Functions for `function` steps: the types that their authors use.

A function is `async def total(context: StepContext) -> JsonValue`, offered as an entry point of the
group `nagaya.functions`. `nagaya_functions.testing` runs one without a server.
"""

from __future__ import annotations

from jsonvalues import Json, JsonMapping, JsonValue
from nagaya_functions.context import ENTRY_POINT_GROUP, Function, StepContext
from nagaya_functions.errors import StepError
from nagaya_functions.files import MAX_FILE_BYTES, MAX_STREAMS, FilePointer

__all__ = [
    "ENTRY_POINT_GROUP",
    "MAX_FILE_BYTES",
    "MAX_STREAMS",
    "FilePointer",
    "Function",
    "Json",
    "JsonMapping",
    "JsonValue",
    "StepContext",
    "StepError",
]
