"""Errors of the local stack, each with a remedy.

LocalError
├── UsageInvalid
├── TenantUnknown
├── StackDown
├── PreflightFailed
│   └── EnvironmentInvalid
├── PartFailed
│   └── PartUnreachable
├── StartFailed
│   └── SupervisorGone
├── StackBusy
└── TemporalMissing
"""

from __future__ import annotations


class NotReady(Exception):
    """The part is not ready yet; the text says what it lacks."""


class Unresponsive(NotReady):
    """The part does not respond at all: it is starting, or it hangs."""


class LocalError(Exception):
    """The stack cannot do what was asked; `remedy` says what helps.

    `log_tail` holds the last lines of whatever failed, if it wrote any. `exit_code` is what a
    command ends with, as `nagaya --help` lists them.
    """

    exit_code: int = 1

    def __init__(self, message: str, remedy: str, log_tail: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.log_tail = log_tail


class UsageInvalid(LocalError):
    """What was asked for makes no sense."""

    exit_code = 2


class TenantUnknown(LocalError):
    """There is no such tenant."""

    exit_code = 3


class StackDown(LocalError):
    """What was asked for needs the running stack."""

    exit_code = 6


class PreflightFailed(LocalError):
    """This machine lacks something the stack needs."""


class EnvironmentInvalid(PreflightFailed):
    """What the environment says makes no sense."""

    exit_code = 2


class PartFailed(LocalError):
    """A part cannot start."""


class PartUnreachable(PartFailed):
    """A part that somebody else runs cannot be used."""

    exit_code = 6


class StartFailed(LocalError):
    """The stack did not come up, by what its supervisor wrote."""


class SupervisorGone(StartFailed):
    """The supervisor ended without a word, as after kill -9."""


class StackBusy(LocalError):
    """Another command is working on the same stack."""

    exit_code = 5


class TemporalMissing(LocalError):
    """There is no Temporal binary that can be used."""
