"""docs/log-events.md: every event that a process logs, read from the calls in the code.

A call such as `_log.info("listening", extra={"event": "server.listening", …})` is one event. A
`RetryLog(_log, "temporal.unavailable", "…")` is two: its own, and `temporal.recovered`; a
`PeriodicTask(action, seconds, _log, "temporal.unavailable", "…")` has `temporal.failed` too.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("libs/*/src/*", "services/*/src/*", "deploy/local/src/*")

# They log the events of their callers.
_FORWARDING = {f"libs/servicekit/src/servicekit/{name}.py" for name in ("periodic", "retries")}
_LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
_LOGGER = re.compile(r"_*log(ger)?")
_EVENT = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")
_HEAD = """\
# Log events

Made by `make docs` from the log calls in the code.

A log line is one JSON object on standard error. `event` names what happened and stays the same when
`message` is reworded: search and alert by it. `level`, `time`, `service`, `logger`, and within a
call `request_id` and `tenant_id`, are in every line; `exception` where there is one. Each call of a
gRPC method that has ended leaves one line with the event `call.ended` and its `method`, `code`,
`ms`, `tenant_id`, `user_id`, `workload`, `bytes_in`, `bytes_out`, `left_ms`, `trace_id` and
`reason`.
"""


@dataclass(frozen=True, slots=True)
class LogEvent:
    """An event and where it is logged."""

    name: str
    level: str
    message: str
    module: str


@dataclass(frozen=True, slots=True)
class LogCall:
    """A log call in a file; `event` is None where it has none that can be read."""

    place: str
    event: LogEvent | None


def page() -> str:
    """Return the text of docs/log-events.md."""
    events = sorted(
        {call.event for call in calls() if call.event is not None},
        key=lambda event: (event.name, event.module, event.message, event.level),
    )
    rows = "".join(
        f"| `{e.name}` | {e.level} | {e.message.replace('|', chr(92) + '|')} | `{e.module}` |\n"
        for e in events
    )
    return f"{_HEAD}\n| event | level | message | module |\n| --- | --- | --- | --- |\n{rows}"


def problems() -> Iterator[str]:
    """Find log calls without an event."""
    for call in calls():
        if call.event is None:
            yield f'{call.place}: a log call needs extra={{"event": "noun.verb_in_past", …}}'


def calls() -> list[LogCall]:
    """Return every log call of the shipped packages, in the order of files and lines."""
    return [call for package in _packages() for file in _files(package) for call in _calls(file)]


def _packages() -> list[Path]:
    found = (path for pattern in SOURCES for path in ROOT.glob(pattern))
    return sorted(path for path in found if path.is_dir())


def _files(package: Path) -> Iterable[Path]:
    files = sorted(package.rglob("*.py"))
    return (file for file in files if str(file.relative_to(ROOT)) not in _FORWARDING)


def _calls(file: Path) -> Iterator[LogCall]:
    parts = file.relative_to(ROOT).with_suffix("").parts
    module = ".".join(parts[parts.index("src") + 1 :]).removesuffix(".__init__")
    for node in ast.walk(ast.parse(file.read_bytes(), file)):
        if isinstance(node, ast.Call):
            place = f"{file.relative_to(ROOT)}:{node.lineno}"
            for event in events_of(node, module):
                yield LogCall(place, event)


def events_of(call: ast.Call, module: str) -> Iterator[LogEvent | None]:
    """Read the events of a call: none if it logs nothing, None in place of one that is missing."""
    match call:
        case ast.Call(ast.Name("RetryLog"), [_, ast.Constant(str(name)), message, *_]):
            yield from _of_retries(name, _text(message), module)
        case ast.Call(ast.Name("PeriodicTask"), [_, _, _, ast.Constant(str(name)), message]):
            words = _text(message)
            yield from _of_retries(name, words, module)
            yield LogEvent(f"{_subject(name)}.failed", "error", f"a defect: {words}", module)
        case ast.Call(ast.Name("RetryLog" | "PeriodicTask")):
            yield None
        case ast.Call(ast.Attribute(logger, level), [message, *_]) if (
            level in _LEVELS and _LOGGER.fullmatch(_name(logger))
        ):
            name = _event_of(call)
            level = "error" if level == "exception" else level
            yield LogEvent(name, level, _text(message), module) if name else None
        case _:
            return


def _of_retries(name: str, words: str, module: str) -> Iterator[LogEvent | None]:
    if not _EVENT.fullmatch(name):
        yield None
        return
    yield LogEvent(name, "warning", words, module)
    yield LogEvent(f"{_subject(name)}.recovered", "info", f"recovered: {words}", module)


def _subject(event: str) -> str:
    return event.partition(".")[0]


def _event_of(call: ast.Call) -> str | None:
    """Return the event in the `extra` of a call, if it is written there."""
    for keyword in call.keywords:
        if keyword.arg == "extra" and isinstance(keyword.value, ast.Dict):
            for key, value in zip(keyword.value.keys, keyword.value.values, strict=True):
                match key, value:
                    case ast.Constant("event"), ast.Constant(str(name)) if _EVENT.fullmatch(name):
                        return name
                    case _:
                        pass
    return None


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _text(node: ast.expr) -> str:
    """Return a message; what is filled in when it is logged stands in braces."""
    match node:
        case ast.Constant(str(text)):
            return text
        case ast.JoinedStr(parts):
            return "".join(_text(part) for part in parts)
        case ast.FormattedValue(value):
            return f"{{{ast.unparse(value)}}}"
        case _:
            return f"{{{ast.unparse(node)}}}"
