"""The process of functions: it serves the calls of the worker, each as a task of its own."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from nagaya_functions import MAX_FILE_BYTES, FilePointer, StepError
from nagaya_functions.calls import FunctionContext, call_function
from runs.domain.error_texts import ErrorText
from runs.worker.function_host.frames import (
    MAX_FIELDS_FROM_WORKER,
    Frame,
    FrameKind,
    pointer_fields,
    read_frame,
    read_pointer,
)
from runs.worker.functions import InstalledFunction

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from nagaya_functions import Function
    from nagaya_functions.calls import FunctionResult
    from nagaya_graphs.loading import Graph

_MAX_REQUESTS = 8
"""How many requests of a process may be open at once: each may hold 3 MiB in the worker."""


async def serve(worker: socket.socket) -> None:
    """Serve calls until the worker closes the socket."""
    reader, writer = await asyncio.open_unix_connection(sock=worker)
    await _CallServer(writer).serve(reader)


class RequestFailed(StepError):
    """A request to the worker failed. The worker keeps the error, by the request's number."""

    def __init__(self, request: int, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.request = request


class _CallServer:
    """The calls that are running, and their requests to the worker."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._calls: dict[int, asyncio.Task[None]] = {}
        self._cancelled: set[int] = set()
        self._responses: dict[int, tuple[int, asyncio.Future[Frame]]] = {}
        """By request: its call, and the response."""
        self._numbers = count(1)
        self._places = asyncio.Semaphore(_MAX_REQUESTS)
        self._import = asyncio.Lock()
        self._functions: dict[str, Function] = {}
        self._graphs: dict[str, Graph] = {}

    async def serve(self, reader: asyncio.StreamReader) -> None:
        self._send(Frame(FrameKind.PONG))
        try:
            while True:
                self._receive(await read_frame(reader, MAX_FIELDS_FROM_WORKER))
                # A call that is cancelled by the next frame has begun, so it responds.
                await asyncio.sleep(0)
        except (asyncio.IncompleteReadError, ConnectionError):
            return

    def _receive(self, frame: Frame) -> None:
        if frame.kind is FrameKind.CALL:
            self._calls[frame.call] = asyncio.create_task(self._run(frame))
        elif frame.kind is FrameKind.CANCEL and frame.call in self._calls:
            self._cancelled.add(frame.call)
            self._calls[frame.call].cancel()
        elif frame.kind is FrameKind.PING:
            self._send(Frame(FrameKind.PONG))
        elif frame.request in self._responses:
            _, response = self._responses.pop(frame.request)
            response.set_result(frame)

    async def _run(self, frame: Frame) -> None:
        result = await self._result(frame)
        del self._calls[frame.call]
        self._cancelled.discard(frame.call)
        for request, (caller, response) in tuple(self._responses.items()):
            if caller == frame.call:  # nobody responds any more
                del self._responses[request]
                response.cancel()
        self._send(result)

    async def _result(self, frame: Frame) -> Frame:
        """Call the function; return the frame with its result."""
        number, loading = frame.call, True
        try:
            call = await self._loaded(frame)
            loading = False
            result = await call()
            fields = {"metrics": dict(result.metrics)}
            return Frame(FrameKind.RETURNED, number, fields=fields, body=result.data)
        except MemoryError:
            return Frame(FrameKind.NO_MEMORY, number)
        except StepError as error:
            request = error.request if isinstance(error, RequestFailed) else 0
            return Frame(FrameKind.FAILED, number, request, _error_fields(error))
        except BaseException as error:  # SystemExit too: it would end the other calls
            if isinstance(error, asyncio.CancelledError) and number in self._cancelled:
                return Frame(FrameKind.CANCELLED, number)
            text = ErrorText.of(error).encoded(MAX_FILE_BYTES)
            return Frame(FrameKind.RAISED, number, fields={"loading": loading}, body=text)

    async def _loaded(self, frame: Frame) -> Callable[[], Awaitable[FunctionResult]]:
        """Return what is to be called; tell the worker while its module is being imported."""
        entry_point = frame.fields["entry_point"]
        if entry_point in self._functions or entry_point in self._graphs:
            return self._prepare(frame)
        async with self._import:
            self._send(Frame(FrameKind.LOADING))
            try:
                await asyncio.sleep(0)  # it is sent before the import takes the loop
                return self._prepare(frame)
            finally:
                self._send(Frame(FrameKind.LOADED))

    def _prepare(self, frame: Frame) -> Callable[[], Awaitable[FunctionResult]]:
        """Import what is to be called. Raises whatever its module raises."""
        context, metrics = _context(frame, self), frame.fields["metrics"]
        if frame.fields["node"] is not None:
            # Imports LangGraph, which functions do without.
            from runs.worker.function_host.child_nodes import prepare_node  # noqa: PLC0415

            return prepare_node(frame, context, partial(self.request, frame.call), self._graphs)
        function = self._load(frame.fields["entry_point"])
        return partial(call_function, function, context, metrics)

    def _load(self, entry_point: str) -> Function:
        if entry_point not in self._functions:
            function = InstalledFunction("", entry_point).load()
            if not callable(function):
                raise TypeError(f"{entry_point} is no function")
            self._functions[entry_point] = function
        return self._functions[entry_point]

    async def request(
        self, call: int, kind: FrameKind, body: bytes = b"", **fields: object
    ) -> Frame:
        """Send a request to the worker; return its response. Raises RequestFailed."""
        await self._places.acquire()
        if call not in self._calls:
            self._places.release()
            raise RequestFailed(0, "CALL_ENDED", "the function has returned")
        number = next(self._numbers)
        response: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        # A caller may stop waiting; the worker works on the request until it has responded.
        response.add_done_callback(lambda _: self._places.release())
        self._responses[number] = call, response
        self._send(Frame(kind, call, number, fields, body))
        await self._writer.drain()
        frame = await asyncio.shield(response)
        if frame.kind is FrameKind.REFUSED:
            raise RequestFailed(number, frame.fields["reason"], frame.fields["message"])
        return frame

    def close_stream(self, call: int, stream: int) -> None:
        """Tell the worker that no more of a stream is wanted; there is no response."""
        self._send(Frame(FrameKind.CLOSE, call, fields={"stream": stream}))

    def _send(self, frame: Frame) -> None:
        self._writer.write(frame.encode())


class _WorkerFiles:
    """The files of a call, which the worker reads and writes."""

    def __init__(self, server: _CallServer, call: int) -> None:
        self._server = server
        self._call = call
        self._streams = count(1)

    async def read(self, file: FilePointer) -> bytes:
        return (await self._request(FrameKind.READ, file=pointer_fields(file))).body

    async def stream(self, file: FilePointer) -> AsyncGenerator[bytes]:
        stream = next(self._streams)
        pointer = pointer_fields(file)
        is_open = True
        try:
            while True:
                piece = await self._request(FrameKind.READ_PIECE, stream=stream, file=pointer)
                if piece.fields.get("end"):
                    is_open = False
                    return
                yield piece.body
        except RequestFailed:
            is_open = False
            raise
        finally:
            if is_open:
                self._server.close_stream(self._call, stream)

    async def write(self, name: str, data: bytes, file_type: str) -> FilePointer:
        written = await self._request(FrameKind.WRITE, bytes(data), name=name, file_type=file_type)
        return read_pointer(written.fields["file"])

    async def _request(self, kind: FrameKind, body: bytes = b"", **fields: object) -> Frame:
        return await self._server.request(self._call, kind, body, **fields)


def _context(frame: Frame, server: _CallServer) -> FunctionContext:
    fields = frame.fields
    element = fields["element"]
    return FunctionContext(
        tenant_id=fields["tenant_id"],
        run_id=fields["run_id"],
        step=fields["step"],
        item=fields["item"],
        visit=fields["visit"],
        arguments=fields["arguments"],
        outputs={
            step: tuple(map(read_pointer, files)) for step, files in fields["outputs"].items()
        },
        mapped_steps=frozenset(fields["mapped_steps"]),
        element=None if element is None else read_pointer(element),
        files=_WorkerFiles(server, frame.call),
    )


def _error_fields(error: StepError) -> dict[str, Any]:
    return {"reason": error.reason, "message": error.message, "retryable": error.retryable}
