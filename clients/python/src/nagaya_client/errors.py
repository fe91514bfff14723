"""Errors of the client.

NagayaError
├── ApiError             a service refused or could not be reached
├── BundleRefused        a bundle of a tenant is damaged, or not signed by whom it should be
├── BytesCorrupt         a file's bytes are not those that its digest names
├── LoginFailed          a person could not log in, or their login cannot be renewed
├── PipelineFileInvalid  a pipeline's YAML breaks a rule, with file and line
└── SettingsInvalid      no address or token, or a profile that makes no sense

Free of gRPC, so that a command can start without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import grpc

_TRANSIENT = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "RESOURCE_EXHAUSTED"})
# What gRPC itself says of a connection that was cut; a service's own always has a reason.
_CUT = frozenset({"INTERNAL", "UNKNOWN"})


class NagayaError(Exception):
    """Anything this package raises; `hint` says what helps, or is empty."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Violation:
    """A field of the request that breaks a rule, by its path, such as `spec.steps[3].needs[0]`."""

    field: str
    description: str


class ApiError(NagayaError):
    """A service refused, or could not be reached.

    `reason` is a value name of the `ErrorReason` enum of the service's package, or empty where the
    call never arrived. `request_id` finds the call in the service's log. `retry_after` is after how
    many seconds the same call may be made again; None where nobody said.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: tuple[Violation, ...] = (),
        request_id: str = "",
        retry_after: float | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message, hint)
        self.code = code
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.violations = violations
        self.request_id = request_id
        self.retry_after = retry_after

    def __str__(self) -> str:
        named = f"{self.code.name} {self.reason}".rstrip()
        return f"{named}: {self.message}"

    @property
    def transient(self) -> bool:
        """Whether the same call may succeed later without anybody changing anything."""
        name = self.code.name
        return name in _TRANSIENT or (name in _CUT and not self.reason)

    def seconds_to_wait(self, least: float) -> float:
        """How long to wait before the same call: as long as the service says, or `least`."""
        return max(least, self.retry_after or 0.0)


class SettingsInvalid(NagayaError):
    """No address or token was found, or what was found makes no sense."""


class LoginFailed(NagayaError):
    """Nobody is logged in; `transient` where the provider may answer later."""

    def __init__(self, message: str, hint: str = "", *, transient: bool = False) -> None:
        super().__init__(message, hint)
        self.transient = transient


class BytesCorrupt(NagayaError):
    """Bytes that came do not agree with the digest that they should have; none were kept."""


class BundleRefused(NagayaError):
    """A bundle is not as it was written; `fault` says in a word what is wrong."""

    def __init__(self, message: str, fault: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a pipeline's file."""

    line: int
    """Counted from 1."""
    where: str
    """The path of the field, such as `steps[3].needs[0]`; empty for the file as a whole."""
    message: str
    hint: str = ""


class PipelineFileInvalid(NagayaError):
    """A pipeline's YAML breaks rules; `faults` holds each, with its line."""

    def __init__(self, path: Path, faults: tuple[Fault, ...]) -> None:
        super().__init__(f"{path} is no valid pipeline")
        self.path = path
        self.faults = faults

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> tuple[str, ...]:
        """One line for each fault, `file:line: field: what is wrong (what helps)`."""
        return tuple(self._line(fault) for fault in self.faults)

    def _line(self, fault: Fault) -> str:
        where = f"{fault.where}: " if fault.where else ""
        hint = f" ({fault.hint})" if fault.hint else ""
        return f"{self.path}:{fault.line}: {where}{fault.message}{hint}"
