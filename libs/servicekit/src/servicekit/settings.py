"""Settings from the environment: read once, checked together, all problems told at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from servicekit.errors import StartRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")


class SettingsInvalid(StartRefused):
    """The environment does not hold what the service needs; the message lists every problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n  ".join(["the settings are not right:", *problems]))
        self.problems = problems


class Environment:
    """Reads settings from a mapping and collects what is wrong with them.

    A setting without a default must be there. After the last one call `done`; until then a wrong
    setting reads as its type's zero value.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._problems: list[str] = []

    def text(self, name: str, default: str | None = None) -> str:
        """Read a string that is not empty, unless the default is."""
        return self._read(name, default, str, "")

    def integer(
        self, name: str, default: int | None = None, *, least: int = 0, most: int = 2**31 - 1
    ) -> int:
        """Read a whole number within bounds."""

        def parse(raw: str) -> int:
            if not least <= int(raw) <= most:
                raise ValueError(f"not from {least} to {most}")
            return int(raw)

        return self._read(name, default, parse, least)

    def seconds(self, name: str, default: float | None = None) -> float:
        """Read a duration in seconds, with a fraction perhaps."""
        return self._read(name, default, _seconds, 0.0)

    def flag(self, name: str, *, default: bool | None = None) -> bool:
        """Read `true` or `false`."""
        return self._read(name, default, _flag, _flag("false"))

    def address(self, name: str) -> tuple[str, int]:
        """Read `host:port`."""
        return self._read(name, None, _address, ("", 0))

    def path(self, name: str, default: str | None = None) -> Path:
        """Read the path of a file or folder that exists."""
        return self._read(name, None if default is None else Path(default), _path, Path())

    def secret_file(self, name: str) -> str:
        """Read the path of a file that only its owner may read; return the file's text."""
        return self._read(name, None, _secret, "")

    def refuse(self, problem: str) -> None:
        """Add a problem that only the service can see."""
        self._problems.append(problem)

    def done(self) -> None:
        """Raise SettingsInvalid with every problem found, if there is one."""
        if self._problems:
            raise SettingsInvalid(self._problems)

    def _read(self, name: str, default: T | None, parse: Callable[[str], T], zero: T) -> T:
        raw = self._variables.get(name, "")
        if not raw and default is not None:
            return default
        if not raw:
            self._problems.append(f"{name} is not set")
            return zero
        try:
            return parse(raw)
        except (ValueError, OSError) as error:
            self._problems.append(f"{name}={raw}: {error}")
            return zero


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """How a service listens, whom it trusts, and where its telemetry goes.

    `drain_seconds` is how long it serves on after SIGTERM, while load balancers look elsewhere.
    `metrics_port` 0 means no metrics.
    """

    listen_host: str
    listen_port: int
    metrics_port: int
    drain_seconds: float
    reflection: bool
    jwks_file: Path
    issuer: str
    workload_key_file: Path
    otlp_endpoint: str | None
    log_level: str

    @classmethod
    def from_environment(cls, environment: Environment) -> ServerConfig:
        """Read what all services have in common; problems are collected in `environment`."""
        host, port = environment.address("NAGAYA_LISTEN")
        return cls(
            listen_host=host,
            listen_port=port,
            metrics_port=environment.integer("NAGAYA_METRICS_PORT", 0, most=65535),
            drain_seconds=environment.seconds("NAGAYA_DRAIN_SECONDS", 5.0),
            reflection=environment.flag("NAGAYA_REFLECTION", default=False),
            jwks_file=environment.path("NAGAYA_JWKS_FILE"),
            issuer=environment.text("NAGAYA_TOKEN_ISSUER"),
            workload_key_file=environment.path("NAGAYA_WORKLOAD_KEY_FILE"),
            otlp_endpoint=environment.text("NAGAYA_OTLP_ENDPOINT", "") or None,
            log_level=environment.text("NAGAYA_LOG_LEVEL", "info"),
        )


def _seconds(raw: str) -> float:
    if not 0 <= float(raw) < float("inf"):
        raise ValueError("not a number of seconds")
    return float(raw)


def _flag(raw: str) -> bool:
    if raw not in ("true", "false"):
        raise ValueError("not true or false")
    return raw == "true"


def _address(raw: str) -> tuple[str, int]:
    host, _, port = raw.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError("not host:port")
    return host, int(port)


def _path(raw: str) -> Path:
    if not Path(raw).exists():
        raise ValueError("there is no such file")
    return Path(raw)


def _secret(raw: str) -> str:
    if _path(raw).stat().st_mode & 0o077:
        raise ValueError("others may read it: chmod 600 it")
    return Path(raw).read_text().strip()
