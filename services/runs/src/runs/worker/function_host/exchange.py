"""One call of a function: what its process asks for meanwhile, and how it ends."""

from __future__ import annotations

import asyncio
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

from runs.domain.error_texts import ErrorText
from runs.domain.failures import FunctionRaised, StepFailed, StepImpossible
from runs.domain.outputs import BYTES_AT_ONCE, FilePointer
from runs.worker.function_host.frames import ENDS, Frame, FrameInvalid, Kind
from runs.worker.functions import FunctionResult
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from jsonvalues import JsonMapping
    from runs.domain.activities import StepRef
    from runs.worker.functions import Files, InstalledFunction

_MOST_REQUESTS = 32
"""More than a process of functions ever has under way, and the most files that it streams."""

_MOST_FRAMES = 3 * _MOST_REQUESTS
"""More than may come at once: its requests, the ends of all streams, and how the call ends."""

_REASON = re.compile(r"[A-Z][A-Z0-9_]{0,62}")


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """A function that is to be called for a piece of work."""

    function: InstalledFunction
    work: StepRef
    arguments: JsonMapping
    outputs: Mapping[str, tuple[FilePointer, ...]]
    element: FilePointer | None
    metrics: Mapping[str, str]
    """JSON pointers into the output, by the metric's name."""
    mapped: frozenset[str] = frozenset()

    def fields(self) -> dict[str, Any]:
        return {
            "entry": self.function.entry,
            "work": asdict(self.work),
            "arguments": self.arguments,
            "outputs": {step: list(map(_listed, files)) for step, files in self.outputs.items()},
            "element": None if self.element is None else _listed(self.element),
            "metrics": dict(self.metrics),
            "mapped": sorted(self.mapped),
        }


class OutOfMemory(Exception):
    """The function was refused memory."""


class _Stream:
    """A file that is read in pieces, by one at a time: the function may leave it meanwhile."""

    def __init__(self, pieces: AsyncGenerator[bytes]) -> None:
        self._pieces = pieces
        self._turn = asyncio.Lock()

    async def next(self) -> bytes | None:
        """Return the next piece; None at the end."""
        async with self._turn:
            return await anext(self._pieces, None)

    async def close(self) -> None:
        async with self._turn:
            await self._pieces.aclose()


class Exchange:
    """The worker's side of a call: it answers the process's requests until the call has ended."""

    def __init__(self, entry: str, files: Files, send: Callable[[Frame], None]) -> None:
        self.entry = entry
        self._files = files
        self._send = send
        self._asked: asyncio.Queue[Frame | None] = asyncio.Queue()
        self._requests: set[asyncio.Task[None]] = set()
        self._streams: dict[int, _Stream] = {}
        self._errors: dict[int, Exception] = {}
        self.ended = asyncio.Event()
        """The call has ended, or its process has."""

    def put(self, frame: Frame) -> None:
        """Take what the process says. Raises FrameInvalid when it asks for too much at once."""
        if self._asked.qsize() + len(self._requests) >= _MOST_FRAMES:
            raise FrameInvalid("too many requests at once")
        self._asked.put_nowait(frame)
        if frame.kind in ENDS:
            self.ended.set()

    def lose(self) -> None:
        """Take note that the process has ended."""
        self._asked.put_nowait(None)
        self.ended.set()

    async def run(self) -> FunctionResult | None:
        """Answer until the call has ended; None if the process ended before.

        Raises StepFailed, FunctionRaised, OutOfMemory, and what a request failed with if the
        function did not mind it.
        """
        try:
            while (frame := await self._asked.get()) is not None:
                if frame.kind in ENDS:
                    return self._result(frame)
                do = self._leave if frame.kind is Kind.CLOSE else self._answer
                request = asyncio.create_task(do(frame))
                self._requests.add(request)
                request.add_done_callback(self._requests.discard)
            return None
        finally:
            await self._close()

    async def _close(self) -> None:
        requests = tuple(self._requests)
        for request in requests:
            request.cancel()
        await asyncio.gather(*requests, return_exceptions=True)
        for stream in self._streams.values():
            await stream.close()
        self._streams.clear()

    async def _leave(self, frame: Frame) -> None:
        stream = self._streams.pop(int(frame.fields["stream"]), None)
        if stream is not None:
            await stream.close()

    async def _answer(self, frame: Frame) -> None:
        try:
            fields, body = await self._asked_for(frame)
            self._send(Frame(Kind.DATA, frame.call, frame.request, fields, body))
        except (StepFailed, DomainError) as error:
            self._refuse(frame, error, error.reason, error.message)
        except Exception as error:  # the function's step fails with it
            self._refuse(frame, error, "INTERNAL", "the worker could not do it")

    def _refuse(self, frame: Frame, error: Exception, reason: str, message: str) -> None:
        self._errors[frame.request] = error
        fields = {"reason": reason, "message": message}
        self._send(Frame(Kind.REFUSED, frame.call, frame.request, fields))

    async def _asked_for(self, frame: Frame) -> tuple[dict[str, Any], bytes]:
        fields = frame.fields
        if frame.kind is Kind.READ:
            return {}, await self._files.read(_pointer(fields["pointer"]))
        if frame.kind is Kind.NEXT:
            return await self._next(int(fields["stream"]), fields["pointer"])
        if frame.kind is not Kind.WRITE or len(frame.body) > BYTES_AT_ONCE:
            raise FrameInvalid("no such request")
        name, file_type = str(fields["name"]), str(fields["file_type"])
        file = await self._files.write(name, frame.body, file_type)
        return {"file": {**asdict(file), "metrics": dict(file.metrics)}}, b""

    async def _next(self, number: int, pointer: list[str]) -> tuple[dict[str, Any], bytes]:
        if number not in self._streams:
            if len(self._streams) >= _MOST_REQUESTS:
                raise StepImpossible(
                    "TOO_MANY_STREAMS",
                    f"the function has more than {_MOST_REQUESTS} files half read: close each "
                    "stream with aclose(), or read it to its end",
                )
            self._streams[number] = _Stream(self._files.stream(_pointer(pointer)))
        piece = await self._streams[number].next()
        if piece is None:
            self._streams.pop(number, None)
            return {"end": True}, b""
        return {}, piece

    def _result(self, end: Frame) -> FunctionResult:
        match end.kind:
            case Kind.RETURNED if _are_numbers(end.fields.get("metrics")):
                return FunctionResult(end.body, end.fields["metrics"])
            case Kind.FAILED:
                raise self._errors.get(end.request) or _failure(end.fields)
            case Kind.NO_MEMORY:
                raise OutOfMemory
            case Kind.RAISED if end.fields.get("loading"):
                raise StepImpossible(
                    "FUNCTION_UNUSABLE",
                    "the function cannot be loaded: its distribution is not installed well",
                    ErrorText.parse(end.body),
                )
            case Kind.RAISED:
                raise FunctionRaised(ErrorText.parse(end.body))
            case _:
                raise StepFailed("INTERNAL", "the function ended in a way that is not known")


def _failure(fields: dict[str, Any]) -> StepFailed:
    """Return a failure that a function has put into words."""
    reason, message = str(fields.get("reason")), str(fields.get("message"))
    kind = StepImpossible if fields.get("final") else StepFailed
    return kind(reason if _REASON.fullmatch(reason) else "INTERNAL", message)


def _are_numbers(metrics: object) -> bool:
    if not isinstance(metrics, dict):
        return False
    return all(type(one) in (int, float) for one in cast("dict[str, object]", metrics).values())


def _listed(pointer: FilePointer) -> list[str]:
    return [pointer.path, pointer.digest, pointer.json_pointer]


def _pointer(listed: list[str]) -> FilePointer:
    path, digest, json_pointer = map(str, listed)
    return FilePointer(path, digest, json_pointer)
