"""Files of short steps, which are committed together: until then the next steps read them here."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from jsonvalues import NothingThere, NotJson, at, compact, parse
from runs.domain.failures import StepFailed
from runs.domain.inputs import file_path
from runs.domain.outputs import BYTES_AT_ONCE
from runs.domain.runs import OutputFile
from runs.worker.activities.retries import retry_transient

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence

    from nagaya_functions import FilePointer
    from runs.domain.outputs import FileDraft
    from runs.peers.artifacts import Artifacts

_PIECE = 1 << 20


class OutputFiles(Protocol):
    """Where a function's files are read and written: the artifacts service, or a buffer of it."""

    async def put(self, tenant_id: str, draft: FileDraft, data: bytes) -> OutputFile: ...

    async def read(self, tenant_id: str, pointers: Sequence[FilePointer]) -> tuple[bytes, ...]: ...

    def stream(self, tenant_id: str, pointer: FilePointer) -> AsyncGenerator[bytes]: ...


class BufferVoid(Exception):
    """A file is not committed as it was kept: what was computed from it is void."""


@dataclass(frozen=True, slots=True)
class _Buffered:
    draft: FileDraft
    data: bytes
    file: OutputFile


class BufferedFiles:
    """The files that short steps of one run have written, one after another."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts
        self._files: dict[str, _Buffered] = {}
        self.committed: dict[str, OutputFile] = {}
        """By path: the files as they are committed."""
        self.replaced: dict[str, FileDraft] = {}
        """By path: those of which an earlier attempt had committed another one."""
        self.refused: dict[str, tuple[FileDraft, StepFailed]] = {}
        """By path: those that the service does not take."""
        self.dropped: dict[str, FileDraft] = {}
        """By path: those that come after one of these, and may be computed from it."""

    @property
    def size(self) -> int:
        """How many bytes wait to be committed."""
        return sum(len(each.data) for each in self._files.values())

    async def put(self, tenant_id: str, draft: FileDraft, data: bytes) -> OutputFile:
        """Keep a file; return its path and digest, without what the service finds out about it.

        A file of the same name that is kept already stays, and is returned.
        """
        prefix = self._artifacts.prefix(tenant_id)
        path = file_path(prefix, draft.run_id, draft.step, draft.name)
        kept = self._files.get(path)
        if kept is None:
            file = OutputFile(path, hashlib.sha256(data).hexdigest(), "", {})
            kept = self._files[path] = _Buffered(draft, data, file)
        return kept.file

    async def read(self, tenant_id: str, pointers: Sequence[FilePointer]) -> tuple[bytes, ...]:
        """Return JSON values of files as `Artifacts.read` does. Raises BufferVoid."""
        values = [self._value(pointer) for pointer in pointers]
        found = tuple(value for value in values if value is not None)
        if len(found) == len(pointers) and sum(map(len, found)) <= BYTES_AT_ONCE:
            return found
        await self.commit(tenant_id)
        if self.replaced or self.refused:
            raise BufferVoid
        return await self._artifacts.read(tenant_id, pointers)

    async def stream(self, tenant_id: str, pointer: FilePointer) -> AsyncGenerator[bytes]:
        """Yield a file's bytes as `Artifacts.stream` does."""
        kept = self._files.get(pointer.path)
        if kept is None or kept.file.output_digest != pointer.digest:
            async for piece in self._artifacts.stream(tenant_id, pointer):
                yield piece
            return
        for place in range(0, len(kept.data), _PIECE):
            yield kept.data[place : place + _PIECE]

    async def commit(self, tenant_id: str) -> None:
        """Commit what is kept; note what became of each file. The first commit of a path wins.

        A file is sent once all are committed on which it may depend, as they were kept. So none is
        ever committed that was computed from one that is not, whatever else commits files of the
        run and wherever the process dies. After the first that is committed otherwise, or refused,
        the rest is dropped.
        """
        files, self._files = self._files, {}
        for part in _parts(files.values()):
            if self.replaced or self.refused:
                self.dropped |= {each.file.output_path: each.draft for each in part}
                continue
            # Those of one moment go in one request.
            await asyncio.gather(*(self._commit(tenant_id, each) for each in part))

    async def _commit(self, tenant_id: str, kept: _Buffered) -> None:
        path = kept.file.output_path
        try:
            file = await retry_transient(
                lambda: self._artifacts.put(tenant_id, kept.draft, kept.data)
            )
        except StepFailed as failure:
            self.refused[path] = (kept.draft, failure)
            return
        self.committed[path] = file
        if file.output_digest != kept.file.output_digest:
            self.replaced[path] = kept.draft

    def _value(self, pointer: FilePointer) -> bytes | None:
        kept = self._files.get(pointer.path)
        if kept is None or kept.file.output_digest != pointer.digest:
            return None
        try:
            return compact(at(parse(kept.data), pointer.json_pointer)).encode()
        except (NotJson, NothingThere, UnicodeEncodeError):
            return None  # the service says what is wrong


def _parts(files: Iterable[_Buffered]) -> Iterator[list[_Buffered]]:
    """Divide files, in their order, after each that another attempt might make otherwise."""
    part: list[_Buffered] = []
    for file in files:
        part.append(file)
        if not file.draft.repeatable:
            yield part
            part = []
    if part:
        yield part
