"""The files of a run, in memory or in a folder, with the bounds that artifacts sets."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from jsonvalues import NothingThere, NotJson, PointerMalformed, at, compact, parse
from nagaya_functions.errors import StepError
from nagaya_functions.files import MAX_FILE_BYTES, MAX_STREAMS, FilePointer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from jsonvalues import JsonValue

MAX_DOCUMENT_BYTES = 16 << 20
"""The size of the largest file out of which a value is read."""

_PIECE_BYTES = 1 << 20


class RunFiles:
    """The files of a run by their path: bytes, or a file on this machine."""

    def __init__(self, tenant_id: str, run_id: str) -> None:
        self._bucket = "storage"
        self._folder = f"{self._bucket}/{tenant_id}/{run_id}/"
        self._tenant = f"{self._bucket}/{tenant_id}/"
        self._content: dict[str, bytes | Path] = {}

    def put(self, name: str, content: bytes | Path) -> None:
        """Add a file by its name in the run, or replace what is there."""
        self._content[self._folder + name] = content

    def put_once(self, name: str, content: bytes) -> None:
        """Add a file unless there is one of that name."""
        self._content.setdefault(self._folder + name, content)

    def has(self, name: str) -> bool:
        return self._folder + name in self._content

    def pointer(self, name: str) -> FilePointer:
        """Return where a file is, and its digest."""
        path = self._folder + name
        return FilePointer(path, _sha256(self._body(path)))

    def value(self, file: FilePointer) -> bytes:
        """Return a JSON value of a file, or the whole file. Raises StepError."""
        body = self.body(file)
        if not file.json_pointer:
            return _bounded("the file", body)
        if len(body) > MAX_DOCUMENT_BYTES:
            raise _read_too_large(
                f"the value at {file.json_pointer!r} lies in a file of more than "
                f"{MAX_DOCUMENT_BYTES:,} bytes"
            )
        value = _value(body, file.json_pointer)
        encoded = compact(value).encode("utf-8", "backslashreplace")
        return _bounded(f"the value at {file.json_pointer!r}", encoded)

    def body(self, file: FilePointer) -> bytes:
        """Return a whole file. Raises StepError unless it is there, with the pointer's digest."""
        if not file.path.startswith(self._tenant):
            raise _refused("PATH_INVALID", "the path is not one of this tenant's")
        if file.path not in self._content:
            raise _refused("ARTIFACT_NOT_FOUND", "no file is committed at this path")
        body = self._body(file.path)
        if file.digest != _sha256(body):
            raise _refused("DIGEST_UNEXPECTED", "the file has another digest")
        return body

    def _body(self, path: str) -> bytes:
        content = self._content[path]
        return content.read_bytes() if isinstance(content, Path) else content


class StepFiles:
    """The files of a run as one call of a function reaches them."""

    def __init__(self, run: RunFiles, folder: str) -> None:
        """`folder`: where in the run the call's files are, with a slash at its end."""
        self._run = run
        self._folder = folder
        self._streams = 0
        self.written: dict[str, bytes] = {}

    async def read(self, file: FilePointer) -> bytes:
        return self._run.value(file)

    async def stream(self, file: FilePointer) -> AsyncGenerator[bytes]:
        if self._streams >= MAX_STREAMS:
            raise _refused(
                "TOO_MANY_STREAMS",
                f"the function has more than {MAX_STREAMS} files partly read: close each stream "
                "with aclose(), or read it to its end",
            )
        self._streams += 1
        try:
            body = self._run.body(file)
            for start in range(0, len(body), _PIECE_BYTES):
                yield body[start : start + _PIECE_BYTES]
        finally:
            self._streams -= 1

    async def write(self, name: str, data: bytes, file_type: str) -> FilePointer:
        self._run.put_once(self._folder + name, bytes(data))
        pointer = self._run.pointer(self._folder + name)
        self.written[name] = self._run.body(pointer)
        return pointer


def _value(body: bytes, json_pointer: str) -> JsonValue:
    try:
        return at(parse(body), json_pointer)
    except NotJson as error:
        why = f"of the file: {error}"
    except PointerMalformed:
        why = "it begins with / and has ~ only in ~0 and ~1"
    except NothingThere:
        why = "the file holds nothing there"
    raise _refused("POINTER_INVALID", f"the JSON pointer {json_pointer!r}: {why}")


def _bounded(what: str, data: bytes) -> bytes:
    if len(data) > MAX_FILE_BYTES:
        raise _read_too_large(f"{what} takes more than {MAX_FILE_BYTES:,} bytes")
    return data


def _read_too_large(why: str) -> StepError:
    remedy = "point to a smaller value inside it, or read the whole file with StepContext.stream"
    return _refused("READ_TOO_LARGE", f"{why}: {remedy}")


def _refused(reason: str, message: str) -> StepError:
    return StepError(reason, message, retryable=False)


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
