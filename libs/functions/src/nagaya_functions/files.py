"""Files, as functions name, read and write them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from nagaya_functions.errors import StepError

MAX_FILE_BYTES = 3 << 20
"""The size of the largest file that a step commits, and of the largest value that it reads."""

MAX_STREAMS = 32
"""How many files a function may have partly read at a time."""

# Those of artifacts: nagaya/options/v1/text_rules.proto, `file_name` and `media_type`.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}(/[A-Za-z0-9][A-Za-z0-9._-]{0,127}){0,5}")
_NAME_LIMIT = 480
_MEDIA_TYPE = re.compile(r"[a-z0-9]+/[a-z0-9][a-z0-9.+-]{0,126}")
_RESERVED = re.compile(r"(output|(call|error)-[0-9]+)[.]json")


@dataclass(frozen=True, slots=True)
class FilePointer:
    """A JSON value in a file, or the whole file, by what the file must contain."""

    path: str
    """`storage/{tenant_id}/{run_id}/{step}/{name}`."""
    digest: str
    """The file's sha256, 64 lower-case hexadecimal digits."""
    json_pointer: str = ""
    """Where in the file the value is (RFC 6901); empty for the whole file."""

    def inside(self, json_pointer: str) -> FilePointer:
        """Return the pointer to a value inside this one, such as `/sections/3/title`."""
        return replace(self, json_pointer=self.json_pointer + json_pointer)


def check_file(name: str, data: bytes, file_type: str) -> None:
    """Raise StepError for a file that a function cannot write."""
    if len(data) > MAX_FILE_BYTES:
        raise StepError(
            "FILE_TOO_LARGE",
            f"the function writes a file of {len(data):,} bytes, at most {MAX_FILE_BYTES:,} are "
            "possible: write several",
            retryable=False,
        )
    if why := _fault(name, file_type):
        raise StepError("FILE_NAME_INVALID", f"the function writes a file {why}", retryable=False)


def _fault(name: str, file_type: str) -> str:
    if _RESERVED.fullmatch(name):
        return f"named {name}, which is reserved: choose another name"
    if len(name) > _NAME_LIMIT or not _NAME.fullmatch(name):
        return (
            "whose name cannot be used: take at most 6 names of letters, digits, dots, hyphens and "
            "underscores with / between them"
        )
    if not _MEDIA_TYPE.fullmatch(file_type):
        return "whose type is no media type: take one such as text/csv, without parameters"
    return ""
