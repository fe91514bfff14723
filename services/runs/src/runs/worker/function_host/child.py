"""The process of functions: it does what the worker calls for, each call as a task of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from itertools import count
from typing import TYPE_CHECKING, cast

from runs.domain.activities import StepRef
from runs.domain.error_texts import ErrorText
from runs.domain.failures import StepFailed, StepImpossible
from runs.domain.outputs import BYTES_AT_ONCE, FilePointer
from runs.domain.runs import OutputFile
from runs.worker.function_host.frames import FIELDS_FROM_WORKER, Frame, Kind, read_frame
from runs.worker.functions import FunctionResult, InstalledFunction, StepContext

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncGenerator

    from jsonvalues import JsonValue
    from runs.worker.functions import Function

_REQUESTS_AT_ONCE = 8
"""Requests of a process that may be under way: each may hold 3 MiB in the worker."""


async def serve(worker: socket.socket) -> None:
    """Serve calls until the worker closes the socket."""
    reader, writer = await asyncio.open_unix_connection(sock=worker)
    await _Child(writer).serve(reader)


class RequestFailed(StepFailed):
    """A file could not be read or written. The worker knows why, and decides what follows."""

    def __init__(self, request: int, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.request = request


class _Child:
    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._calls: dict[int, asyncio.Task[None]] = {}
        self._cancelled: set[int] = set()
        self._answers: dict[int, tuple[int, asyncio.Future[Frame]]] = {}
        """By request: its call, and the answer."""
        self._numbers = count(1)
        self._requests = asyncio.Semaphore(_REQUESTS_AT_ONCE)
        self._functions: dict[str, Function] = {}

    async def serve(self, reader: asyncio.StreamReader) -> None:
        self._send(Frame(Kind.PONG))
        try:
            while True:
                self._take(await read_frame(reader, FIELDS_FROM_WORKER))
        except (asyncio.IncompleteReadError, ConnectionError):
            return

    def _take(self, frame: Frame) -> None:
        if frame.kind is Kind.CALL:
            self._calls[frame.call] = asyncio.create_task(self._do(frame))
        elif frame.kind is Kind.CANCEL and frame.call in self._calls:
            self._cancelled.add(frame.call)
            self._calls[frame.call].cancel()
        elif frame.kind is Kind.PING:
            self._send(Frame(Kind.PONG))
        elif frame.request in self._answers:
            _, answer = self._answers.pop(frame.request)
            answer.set_result(frame)

    async def _do(self, call: Frame) -> None:
        end = await self._end_of(call)
        del self._calls[call.call]
        self._cancelled.discard(call.call)
        for request, (asker, answer) in tuple(self._answers.items()):
            if asker == call.call:  # nobody answers any more
                del self._answers[request]
                answer.cancel()
        self._send(end)

    async def _end_of(self, call: Frame) -> Frame:
        """Do a call's function; return the frame that tells how it ended."""
        number, loading = call.call, True
        try:
            function = self._load(call.fields["entry"])
            loading = False
            value = await _begun(function, _context(call, self))
            result = FunctionResult.of(value, call.fields["metrics"])
            metrics = dict(result.metrics)
            return Frame(Kind.RETURNED, number, fields={"metrics": metrics}, body=result.data)
        except MemoryError:
            return Frame(Kind.NO_MEMORY, number)
        except StepFailed as failure:
            request = failure.request if isinstance(failure, RequestFailed) else 0
            told = {"reason": failure.reason, "message": failure.message, "final": failure.final}
            return Frame(Kind.FAILED, number, request, told)
        except BaseException as error:  # SystemExit too: it would end what others have begun
            if isinstance(error, asyncio.CancelledError) and number in self._cancelled:
                return Frame(Kind.CANCELLED, number)
            text = ErrorText.of(error).encoded(BYTES_AT_ONCE)
            return Frame(Kind.RAISED, number, fields={"loading": loading}, body=text)

    def _load(self, entry: str) -> Function:
        if entry not in self._functions:
            function = InstalledFunction("", entry).load()
            if not callable(function):
                raise TypeError(f"{entry} is no function")
            self._functions[entry] = function
        return self._functions[entry]

    async def ask(self, call: int, kind: Kind, body: bytes = b"", **fields: object) -> Frame:
        """Send a request to the worker; return its answer. Raises RequestFailed."""
        await self._requests.acquire()
        if call not in self._calls:
            self._requests.release()
            raise RequestFailed(0, "CALL_ENDED", "the function has returned")
        request = next(self._numbers)
        answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        # Whoever asks may stop waiting; the worker is at it until it has answered.
        answer.add_done_callback(lambda _: self._requests.release())
        self._answers[request] = call, answer
        self.tell(kind, call, request, body, **fields)
        await self._writer.drain()
        frame = await asyncio.shield(answer)
        if frame.kind is Kind.REFUSED:
            raise RequestFailed(request, frame.fields["reason"], frame.fields["message"])
        return frame

    def tell(
        self, kind: Kind, call: int, request: int = 0, body: bytes = b"", **fields: object
    ) -> None:
        """Send a request to which there is no answer, or whose answer is waited for elsewhere."""
        self._send(Frame(kind, call, request, fields, body))

    def _send(self, frame: Frame) -> None:
        self._writer.write(frame.packed())


class _AskedFiles:
    """The files of a piece of work, which the worker reads and writes."""

    def __init__(self, child: _Child, call: int) -> None:
        self._child = child
        self._call = call
        self._streams = count(1)

    async def read(self, pointer: FilePointer) -> bytes:
        return (await self._child.ask(self._call, Kind.READ, pointer=_listed(pointer))).body

    async def stream(self, pointer: FilePointer) -> AsyncGenerator[bytes]:
        number = next(self._streams)
        file = _listed(pointer)
        is_open = True
        try:
            while True:
                piece = await self._child.ask(self._call, Kind.NEXT, stream=number, pointer=file)
                if piece.fields.get("end"):
                    is_open = False
                    return
                yield piece.body
        except RequestFailed:
            is_open = False
            raise
        finally:
            if is_open:
                self._child.tell(Kind.CLOSE, self._call, stream=number)

    async def write(self, name: str, data: bytes, file_type: str) -> OutputFile:
        written = await self._child.ask(
            self._call, Kind.WRITE, bytes(data), name=name, file_type=file_type
        )
        return OutputFile(**written.fields["file"])


def _begun(function: Function, context: StepContext) -> Awaitable[JsonValue]:
    """Call a function. Raises StepImpossible for one that is not to be awaited."""
    begun = cast("object", function(context))
    if not isinstance(begun, Awaitable):
        raise StepImpossible(
            "FUNCTION_UNUSABLE",
            f"the function returned {type(begun).__name__}, which cannot be awaited: "
            "define it with `async def`, and have it return its output",
        )
    return cast("Awaitable[JsonValue]", begun)


def _context(call: Frame, child: _Child) -> StepContext:
    fields = call.fields
    element = fields["element"]
    return StepContext(
        StepRef(**fields["work"]),
        fields["arguments"],
        {
            step: tuple(FilePointer(*pointer) for pointer in pointers)
            for step, pointers in fields["outputs"].items()
        },
        None if element is None else FilePointer(*element),
        _AskedFiles(child, call.call),
        frozenset(fields["mapped"]),
    )


def _listed(pointer: FilePointer) -> list[str]:
    return [pointer.path, pointer.digest, pointer.json_pointer]
