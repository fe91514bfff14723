"""The worker's side of one call: it serves the function's requests until the call has ended."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

from nagaya_functions import MAX_FILE_BYTES, MAX_STREAMS
from nagaya_functions.calls import FunctionResult
from nagaya_functions.errors import REASON
from runs.domain.error_texts import ErrorText
from runs.domain.failures import FunctionRaised, StepFailed, StepImpossible
from runs.worker.function_host.exits import OutOfMemory
from runs.worker.function_host.frames import (
    RESULTS,
    Frame,
    FrameInvalid,
    FrameKind,
    pointer_fields,
    read_piece,
    read_pointer,
)
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from nagaya_functions.calls import FunctionContext
    from nagaya_graphs.calls import Models, NodeWork

_MAX_FRAMES = 3 * MAX_STREAMS
"""More than may be waiting at once: a process's requests, the ends of all streams, the result."""


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """A call of an installed function, or of a node of an installed graph."""

    entry_point: str
    """`module:attribute`."""
    context: FunctionContext
    metrics: Mapping[str, str]
    """JSON pointers into the output, by the metric's name."""
    node: NodeWork | None = None
    models: Models | None = None
    """How a node reaches its model."""

    def fields(self) -> dict[str, Any]:
        """Return the fields of the frame that requests the call."""
        context = self.context
        return {
            "entry_point": self.entry_point,
            "tenant_id": context.tenant_id,
            "run_id": context.run_id,
            "step": context.step,
            "item": context.item,
            "visit": context.visit,
            "arguments": context.arguments,
            "outputs": {
                step: list(map(pointer_fields, files)) for step, files in context.outputs.items()
            },
            "mapped_steps": sorted(context.mapped_steps),
            "element": None if context.element is None else pointer_fields(context.element),
            "metrics": dict(self.metrics),
            "node": None if self.node is None else asdict(self.node),
        }


class _Stream:
    """A file that is read in pieces, one request at a time, and can be closed meanwhile."""

    def __init__(self, pieces: AsyncGenerator[bytes]) -> None:
        self._pieces = pieces
        self._lock = asyncio.Lock()

    async def next(self) -> bytes | None:
        """Return the next piece; None at the end."""
        async with self._lock:
            return await anext(self._pieces, None)

    async def close(self) -> None:
        async with self._lock:
            await self._pieces.aclose()


class CallSession:
    """One call in a process, from its first frame to its result."""

    def __init__(self, call: FunctionCall, send: Callable[[Frame], None]) -> None:
        self.entry_point = call.entry_point
        self._files = call.context.files
        self._models = call.models
        self._send = send
        self._received: asyncio.Queue[Frame | None] = asyncio.Queue()
        self._requests: set[asyncio.Task[None]] = set()
        self._streams: dict[int, _Stream] = {}
        self._errors: dict[int, Exception] = {}
        self.ended = asyncio.Event()
        """Set when the call has ended, or its process has."""

    def receive(self, frame: Frame) -> None:
        """Take a frame of the process. Raises FrameInvalid when too many are waiting."""
        if self._received.qsize() + len(self._requests) >= _MAX_FRAMES:
            raise FrameInvalid("too many requests at once")
        self._received.put_nowait(frame)
        if frame.kind in RESULTS:
            self.ended.set()

    def process_ended(self) -> None:
        """Record that there will be no more frames."""
        self._received.put_nowait(None)
        self.ended.set()

    async def run(self) -> FunctionResult | None:
        """Serve requests until the call has ended; None if the process ended before.

        Raises StepFailed, FunctionRaised, OutOfMemory, and the error of a request if that is what
        the function failed with.
        """
        try:
            while (frame := await self._received.get()) is not None:
                if frame.kind in RESULTS:
                    return self._result(frame)
                serve = self._close_stream if frame.kind is FrameKind.CLOSE else self._serve
                request = asyncio.create_task(serve(frame))
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

    async def _close_stream(self, frame: Frame) -> None:
        stream = self._streams.pop(int(frame.fields["stream"]), None)
        if stream is not None:
            await stream.close()

    async def _serve(self, frame: Frame) -> None:
        try:
            fields, body = await self._response(frame)
            self._send(Frame(FrameKind.DATA, frame.call, frame.request, fields, body))
        except (StepFailed, DomainError) as error:
            self._refuse(frame, error, error.reason, error.message)
        except Exception as error:  # the function's step fails with it
            self._refuse(frame, error, "INTERNAL", "the worker could not do it")

    def _refuse(self, frame: Frame, error: Exception, reason: str, message: str) -> None:
        self._errors[frame.request] = error
        fields = {"reason": _known(reason.removeprefix("ERROR_REASON_")), "message": message}
        self._send(Frame(FrameKind.REFUSED, frame.call, frame.request, fields))

    async def _response(self, frame: Frame) -> tuple[dict[str, Any], bytes]:
        fields = frame.fields
        if frame.kind is FrameKind.READ:
            return {}, await self._files.read(read_pointer(fields["file"]))
        if frame.kind is FrameKind.READ_PIECE:
            return await self._piece(int(fields["stream"]), fields["file"])
        if frame.kind is FrameKind.ASK_MODEL and self._models is not None:
            variables = {
                str(name): tuple(map(read_piece, pieces))
                for name, pieces in fields["variables"].items()
            }
            reply = await self._models.ask(int(fields["call_number"]), variables)
            return {"file": pointer_fields(reply)}, b""
        if frame.kind is not FrameKind.WRITE or len(frame.body) > MAX_FILE_BYTES:
            raise FrameInvalid("no such request")
        name, file_type = str(fields["name"]), str(fields["file_type"])
        file = await self._files.write(name, frame.body, file_type)
        return {"file": pointer_fields(file)}, b""

    async def _piece(self, number: int, file: list[str]) -> tuple[dict[str, Any], bytes]:
        if number not in self._streams:
            if len(self._streams) >= MAX_STREAMS:
                raise StepImpossible(
                    "TOO_MANY_STREAMS",
                    f"the function has more than {MAX_STREAMS} files partly read: close each "
                    "stream with aclose(), or read it to its end",
                )
            self._streams[number] = _Stream(self._files.stream(read_pointer(file)))
        piece = await self._streams[number].next()
        if piece is None:
            self._streams.pop(number, None)
            return {"end": True}, b""
        return {}, piece

    def _result(self, frame: Frame) -> FunctionResult:
        match frame.kind:
            case FrameKind.RETURNED if _are_numbers(frame.fields.get("metrics")):
                return FunctionResult(frame.body, frame.fields["metrics"])
            case FrameKind.FAILED:
                raise self._errors.get(frame.request) or _failure(frame.fields)
            case FrameKind.NO_MEMORY:
                raise OutOfMemory
            case FrameKind.RAISED if frame.fields.get("loading"):
                raise StepImpossible(
                    "FUNCTION_UNUSABLE",
                    "the function cannot be loaded: its distribution is not installed well",
                    ErrorText.parse(frame.body),
                )
            case FrameKind.RAISED:
                raise FunctionRaised(ErrorText.parse(frame.body))
            case _:
                raise StepFailed("INTERNAL", "the function ended in a way that is not known")


def _failure(fields: dict[str, Any]) -> StepFailed:
    """Return the failure that a function's StepError stands for."""
    reason, message = str(fields.get("reason")), str(fields.get("message"))
    kind = StepFailed if fields.get("retryable") else StepImpossible
    return kind(_known(reason), message)


def _known(reason: str) -> str:
    return reason if REASON.fullmatch(reason) else "INTERNAL"


def _are_numbers(metrics: object) -> bool:
    if not isinstance(metrics, dict):
        return False
    return all(type(one) in (int, float) for one in cast("dict[str, object]", metrics).values())
