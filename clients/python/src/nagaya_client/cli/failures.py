"""What a person is told when something goes wrong, and the exit code that goes with it."""

from __future__ import annotations

import click

from nagaya_client.errors import (
    ApiError,
    BytesCorrupt,
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


class Ended(Exception):
    """The command is over with this exit code and has said why."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class StackFailed(NagayaError):
    """The local stack cannot do what was asked; `exit_code` is what the command ends with."""

    def __init__(self, message: str, hint: str, exit_code: int) -> None:
        super().__init__(message, hint)
        self.exit_code = exit_code


def report(error: BaseException) -> int:
    """Tell what went wrong on stderr, and return the exit code. Raises what nobody expected."""
    match error:
        case Ended():
            return error.code
        case click.exceptions.Exit():
            return error.exit_code
        case click.Abort() | KeyboardInterrupt():
            _say("interrupted")
            return INTERRUPTED
        case click.UsageError():
            error.show()
            return USAGE
        case click.ClickException() | OSError():
            _say(f"error: {error}")
            return USAGE
        case PipelineFileInvalid():
            for line in error.lines():
                _say(line)
            return USAGE
        case NagayaError():
            return _report_ours(error)
        case _:
            raise error


def describe(error: NagayaError) -> list[str]:
    """Return the lines that a person is told."""
    lines = [f"error: {error.message}"]
    if isinstance(error, ApiError):
        lines += [f"  {v.field}: {v.description}" for v in error.violations]
        lines.append(f"reason: {error.reason or error.code.name}")
    if error.hint:
        lines.append(f"hint: {error.hint}")
    if isinstance(error, ApiError) and error.request_id:
        lines.append(f"request id: {error.request_id}")
    return lines


def exit_code_of(error: NagayaError) -> int:
    match error:
        case ApiError():
            return EXIT_CODES[error.code.name]
        case StackFailed():
            return error.exit_code
        case SettingsInvalid():
            return USAGE
        case BytesCorrupt():
            return FAILED
        case _:
            return FAILED


def _report_ours(error: NagayaError) -> int:
    for line in describe(error):
        _say(line)
    return exit_code_of(error)


def _say(line: str) -> None:
    click.echo(line, err=True)
