"""Logging: one JSON object a line, on standard error, written by a thread of its own."""

from __future__ import annotations

import json
import logging
import queue
import sys
import threading
import time
import traceback
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from servicekit.call import current_call

if TYPE_CHECKING:
    from collections.abc import Callable

_QUEUED_LINES = 10_000
_MESSAGE_LENGTH = 200
# The attributes that every record has, and the fields of a line that `extra` must not replace.
_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_NOT_EXTRA = _ATTRIBUTES | {"time", "level", "service", "logger"}


class LineWriter:
    """Writes lines in a thread. `put` never blocks; lines above 10,000 are dropped and counted."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._lines: queue.Queue[str | None] = queue.Queue(_QUEUED_LINES)
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()
        self.dropped = 0

    def put(self, line: str) -> None:
        """Queue a line, or several joined by newlines."""
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Write what is queued, and end the thread; wait for 5 s at most."""
        self._lines.put(None)
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            self._write(line + "\n")


class JsonHandler(logging.Handler):
    """Turns log records into JSON lines; `extra` becomes fields, `event` among them."""

    def __init__(self, service: str, writer: LineWriter) -> None:
        super().__init__()
        self.service = service
        self.writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, Any] = {
            "time": iso(record.created),
            "level": record.levelname.lower(),
            "service": self.service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        call = current_call()
        if call is not None and call.request_id:
            fields |= {"request_id": call.request_id, "tenant_id": call.tenant_id}
        fields |= {key: value for key, value in vars(record).items() if key not in _NOT_EXTRA}
        if record.exc_info is not None and record.exc_info[1] is not None:
            fields["exception"] = _format_exception(record.exc_info[1])
        self.writer.put(json.dumps(fields, default=str))


def _format_exception(error: BaseException) -> str:
    """Format an error and its causes with 200 characters of each: messages may quote a body."""
    words = str(error).partition("\n")[0][:_MESSAGE_LENGTH]
    text = "".join(traceback.format_tb(error.__traceback__)) + f"{type(error).__name__}: {words}\n"
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return text if cause is None else f"{_format_exception(cause)}which led to\n{text}"


def start(service: str, level: str) -> JsonHandler:
    """Send every log record of this process to standard error as a JSON line."""
    handler = JsonHandler(service, LineWriter(_to_stderr))
    root = logging.getLogger()
    for other in root.handlers[:]:
        root.removeHandler(other)
    root.addHandler(handler)
    root.setLevel(level.upper())
    return handler


def stop() -> None:
    """Write the lines that are queued."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, JsonHandler):
            handler.writer.close()


def _to_stderr(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def iso(moment: float) -> str:
    """Return a time in seconds since 1970 as 2026-11-23T18:24:00.123Z."""
    second = int(moment)
    return f"{_second(second)}.{int((moment - second) * 1000):03}Z"


@lru_cache(maxsize=1)
def _second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
