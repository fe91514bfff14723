"""Logs: one JSON object a line, on standard error, written by a thread of its own."""

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
_WORDS = 200
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class LineWriter:
    """Takes lines without ever blocking, and writes them in a thread; counts what it must drop."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._lines: queue.Queue[str | None] = queue.Queue(_QUEUED_LINES)
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()
        self.dropped = 0

    def put(self, line: str) -> None:
        """Hand over a line, or several joined by newlines."""
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Write what is queued, and end the thread."""
        self._lines.put(None)
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            self._write(line + "\n")


class JsonHandler(logging.Handler):
    """Turns log records into JSON lines; what stands in `extra` becomes fields."""

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
        fields |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info is not None and record.exc_info[1] is not None:
            fields["exception"] = _story(record.exc_info[1])
        self.writer.put(json.dumps(fields, default=str))


def _story(error: BaseException) -> str:
    """Tell an error and its causes, with little of their words: these may quote a body."""
    words = str(error).partition("\n")[0][:_WORDS]
    told = "".join(traceback.format_tb(error.__traceback__)) + f"{type(error).__name__}: {words}\n"
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return told if cause is None else f"{_story(cause)}which led to\n{told}"


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
    """Write the lines that are left."""
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
