"""Errors as lines on stderr, and their exit codes."""

from __future__ import annotations

import click

from nagaya_client.cli import hints
from nagaya_client.errors import (
    ApiError,
    BytesCorrupt,
    LoginFailed,
    NagayaError,
    PipelineFileInvalid,
    SettingsInvalid,
)

FAILED = 1
USAGE = 2
NOT_FOUND = 3
DENIED = 4
CONFLICT = 5
UNAVAILABLE = 6
PARTIAL = 7
INTERRUPTED = 130

EXIT_CODES = {
    "CANCELLED": UNAVAILABLE,
    "UNKNOWN": FAILED,
    "INVALID_ARGUMENT": USAGE,
    "DEADLINE_EXCEEDED": UNAVAILABLE,
    "NOT_FOUND": NOT_FOUND,
    "ALREADY_EXISTS": CONFLICT,
    "PERMISSION_DENIED": DENIED,
    "RESOURCE_EXHAUSTED": UNAVAILABLE,
    "FAILED_PRECONDITION": CONFLICT,
    "ABORTED": CONFLICT,
    "OUT_OF_RANGE": USAGE,
    "UNIMPLEMENTED": FAILED,
    "INTERNAL": FAILED,
    "UNAVAILABLE": UNAVAILABLE,
    "DATA_LOSS": FAILED,
    "UNAUTHENTICATED": DENIED,
}


class CommandExit(Exception):
    """Ends the command with this exit code; the reason is printed already."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def report(error: BaseException) -> int:
    """Print an error on stderr and return the exit code. Raises what is not expected."""
    match error:
        case CommandExit():
            return error.code
        case click.exceptions.Exit():
            return error.exit_code
        case click.Abort() | KeyboardInterrupt():
            _print("interrupted")
            return INTERRUPTED
        case click.UsageError():
            error.show()
            return USAGE
        case click.ClickException():
            _print(f"error: {error}")
            return USAGE
        case OSError():
            what = f"{error.filename}: " if error.filename else ""
            _print(f"error: {what}{error.strerror or error}")
            return USAGE
        case PipelineFileInvalid():
            for line in error.lines():
                _print(hints.in_commands(line))
            return USAGE
        case NagayaError():
            return _report_nagaya_error(error)
        case UnicodeError():
            _print("error: what was given is not all text: it holds bytes or half characters")
            return USAGE
        case RecursionError():
            _print("error: what was given is nested too deeply")
            return USAGE
        case _:
            raise error


def describe(error: NagayaError) -> list[str]:
    """Return the lines for stderr."""
    if not isinstance(error, ApiError):
        return [f"error: {error.message}", *_hint(error.hint)]
    violations = [f"{violation.field}: {violation.description}" for violation in error.violations]
    first = error.message.startswith(violations[0]) if violations else False
    if first and len(violations) == 1:
        lines = [f"error: {violations[0]}"]
    elif first:
        lines = [f"error: {len(violations)} fields are wrong", *map("  {}".format, violations)]
    else:
        message = hints.in_commands(error.message, error.metadata)
        lines = [f"error: {message}", *map("  {}".format, violations)]
    lines.append(f"reason: {error.reason or error.code.name}")
    # Of a token without the permission other tenants are no help.
    known = "" if "permission" in error.metadata else hints.BY_REASON.get(error.reason, "")
    lines += _hint(error.hint or known)
    return [*lines, f"request id: {error.request_id}"] if error.request_id else lines


def _hint(text: str) -> list[str]:
    return [f"hint: {text}"] if text else []


def exit_code_of(error: NagayaError) -> int:
    """Return the exit code for an error, as `nagaya --help` lists them."""
    match error:
        case ApiError():
            return EXIT_CODES[error.code.name]
        case SettingsInvalid():
            return USAGE
        case LoginFailed():
            return UNAVAILABLE if error.transient else DENIED
        case BytesCorrupt():
            return FAILED
        case _:
            return FAILED


def _report_nagaya_error(error: NagayaError) -> int:
    for line in describe(error):
        _print(line)
    return exit_code_of(error)


def _print(line: str) -> None:
    click.echo(line, err=True)
