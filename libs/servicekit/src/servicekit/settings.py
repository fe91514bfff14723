"""Settings from environment variables: read once, all problems reported together."""

from __future__ import annotations

import difflib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from servicekit.errors import StartRefused
from servicekit.private_files import check_private, read_secret
from tls.address import ServerAddress
from tls.config import ClientTls, ServerTls

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

_MISSPELT = 0.9  # more alike than any two names that are right
_BY_FILE = "the same, from a file that only its owner may read"
_ISSUER = "who issues people's tokens whose key is in that file: their `iss`"
_LEVELS = ("debug", "info", "warning", "error")


class SettingsInvalid(StartRefused):
    """The environment does not hold what the service needs; the message lists every problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n  ".join(["the settings are not right:", *problems]))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Setting:
    """An environment variable that a process reads."""

    name: str
    meaning: str
    default: object
    """The value when it is not set; None when it must be set."""


class Environment:
    """Reads settings from a mapping and collects the problems.

    A setting without a default must be set. Call `done` after the last one; until then a wrong
    setting reads as the zero value of its type. `settings` are those that were read, in order:
    docs/settings.md is generated from them.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.settings: list[Setting] = []
        self._variables = variables
        self._problems: list[str] = []
        self._tls: ClientTls | None = None

    def text(self, name: str, meaning: str, *, default: str | None = None) -> str:
        """Read a string that is not empty, unless the default is."""
        return self._read(name, meaning, default, str, "")

    def integer(
        self,
        name: str,
        meaning: str,
        *,
        default: int | None = None,
        least: int = 0,
        most: int = 2**31 - 1,
    ) -> int:
        """Read a whole number within bounds."""

        def parse(raw: str) -> int:
            if not (raw.isdecimal() and least <= int(raw) <= most):
                raise ValueError(f"not a whole number from {least} to {most}")
            return int(raw)

        return self._read(name, meaning, default, parse, least)

    def seconds(self, name: str, meaning: str, *, default: float | None = None) -> float:
        """Read a duration in seconds, with a fraction perhaps."""
        return self._read(name, meaning, default, _seconds, 0.0)

    def flag(self, name: str, meaning: str, *, default: bool | None = None) -> bool:
        """Read `true` or `false`."""
        return self._read(name, meaning, default, _flag, _flag("false"))

    def address(
        self, name: str, meaning: str, *, default: tuple[str, int] | None = None
    ) -> tuple[str, int]:
        """Read the `host:port` where a server listens."""
        return self._read(name, meaning, default, _address, ("", 0))

    def peer(self, name: str, meaning: str) -> ServerAddress:
        """Read where a server is that is called; by TLS it is verified as `client_tls` says."""
        return self._read(name, meaning, None, self._parse_peer, ServerAddress("", 0))

    def optional_peer(self, name: str, meaning: str) -> ServerAddress | None:
        """Read where a server is that is called; None when it is not set."""
        found: ServerAddress | str = self._read(name, meaning, "", self._parse_peer, "")
        return None if isinstance(found, str) else found

    def client_tls(self) -> ClientTls:
        """Read how calls to servers verify them, and the certificate of this process."""
        self._tls = self._tls or ClientTls.from_environment(self)
        return self._tls

    def path(self, name: str, meaning: str) -> Path:
        """Read the path of a file or folder that exists."""
        return self._read(name, meaning, None, _path, Path())

    def optional_path(self, name: str, meaning: str) -> Path | None:
        """Read the path of a file or folder that exists; None when it is not set."""
        found: Path | str = self._read(name, meaning, "", _path, "")
        return None if isinstance(found, str) else found

    def private_file(self, name: str, meaning: str) -> Path:
        """Read the path of a file that `check_private` accepts."""
        return self._read(name, meaning, None, _private, Path())

    def optional_private_file(self, name: str, meaning: str) -> Path | None:
        """Read the path of a private file; None when it is not set."""
        found = self._read(name, meaning, Path(), _private, Path())
        return found if found != Path() else None

    def secret(self, name: str, meaning: str, *, default: str | None = None) -> str:
        """Read a secret: the value of `name`, or the text of the file that `<name>_FILE` names."""
        file = f"{name}_FILE"
        self.settings += (Setting(name, meaning, default), Setting(file, _BY_FILE, ""))
        value, path = self._variables.get(name, ""), self._variables.get(file, "")
        if value and path:
            self._problems.append(f"{name} and {file} are both set: which one is meant?")
        elif path:
            try:
                return read_secret(_path(path))
            except (ValueError, OSError) as error:
                self._problems.append(f"{file}={path}: {error}")
        elif not value and default is None:
            self._problems.append(f"{name} is not set, nor {file}: {meaning}")
        return value or default or ""

    def secret_file(self, name: str) -> Path | None:
        """Return the file from which `secret` reads; None if it reads none."""
        return Path(path) if (path := self._variables.get(f"{name}_FILE")) else None

    def renamed(self, old: str, new: str) -> None:
        """Refuse a setting that is given by its former name, which nothing reads any more."""
        self.settings.append(Setting(old, f"refused: it is called `{new}` now", ""))
        if old in self._variables:
            self._problems.append(f"{old} is read by nobody: it is called {new} now")

    def refuse(self, problem: str) -> None:
        """Add a problem that only the service can see."""
        self._problems.append(problem)

    def done(self) -> None:
        """Raise SettingsInvalid with every problem found, if there is one."""
        known = [setting.name for setting in self.settings]
        for name in self._variables:
            near = difflib.get_close_matches(name, known, 1, _MISSPELT)
            if name not in known and near:
                self._problems.append(f"{name} is read by nobody: is {near[0]} meant?")
        if self._problems:
            raise SettingsInvalid(self._problems)

    def _parse_peer(self, raw: str) -> ServerAddress:
        return ServerAddress.parse(raw, self.client_tls())

    def _read(
        self, name: str, meaning: str, default: T | None, parse: Callable[[str], T], zero: T
    ) -> T:
        self.settings.append(Setting(name, meaning, default))
        raw = self._variables.get(name, "")
        if not raw and default is not None:
            return default
        if not raw:
            self._problems.append(f"{name} is not set: {meaning}")
            return zero
        try:
            return parse(raw)
        except (ValueError, OSError) as error:
            self._problems.append(f"{name}={raw}: {error}")
            return zero


def read(of: Callable[[Environment], T], variables: Mapping[str, str]) -> T:
    """Read what `of` reads. Raises SettingsInvalid with every problem."""
    environment = Environment(variables)
    found = of(environment)
    environment.done()
    return found


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Settings that all servers have: where to listen, whose tokens to trust, telemetry.

    `issuer` is empty where the file of keys has none of people. `drain_seconds` is how long it
    serves on after SIGTERM, until load balancers send no more; `connection_age_seconds`, when a
    connection takes no more calls. `metrics_port` 0 is for none.
    """

    listen_host: str
    listen_port: int
    metrics_port: int
    drain_seconds: float
    connection_age_seconds: float
    reflection: bool
    jwks_file: Path
    issuer: str
    workload_key_file: Path
    otlp_endpoint: str | None
    log_level: str
    tls: ServerTls | None = None
    """None where it serves plaintext HTTP/2."""

    @classmethod
    def from_environment(
        cls, read: Environment, listen: tuple[str, int] | None = None
    ) -> ServerConfig:
        """Read what all processes have in common; `listen` is where one listens by default."""
        host, port = read.address(
            "NAGAYA_LISTEN", "`host:port` of the API; the metrics are on its host", default=listen
        )
        return cls(
            listen_host=host,
            listen_port=port,
            metrics_port=read.integer(
                "NAGAYA_METRICS_PORT", "port of the metrics; 0 for none", default=0, most=65535
            ),
            drain_seconds=read.seconds(
                "NAGAYA_DRAIN_SECONDS", "how long to serve on after SIGTERM", default=5.0
            ),
            connection_age_seconds=read.seconds(
                "NAGAYA_CONNECTION_AGE_SECONDS",
                "how old a connection becomes, up to twice as much, until new calls need another",
                default=900.0,
            ),
            reflection=read.flag(
                "NAGAYA_REFLECTION", "whether the API describes itself", default=False
            ),
            jwks_file=read.path(
                "NAGAYA_JWKS_FILE",
                "public keys of the issuer and of the workloads; read again when it changes",
            ),
            issuer=read.text("NAGAYA_TOKEN_ISSUER", _ISSUER, default=""),
            workload_key_file=read.private_file(
                "NAGAYA_WORKLOAD_KEY_FILE", "the private key of this workload, in PEM, mode 0600"
            ),
            otlp_endpoint=read.text("NAGAYA_OTLP_ENDPOINT", "where spans go, by gRPC", default="")
            or None,
            log_level=_log_level(read),
            tls=ServerTls.from_environment(read, read.client_tls()),
        )


def _log_level(read: Environment) -> str:
    level = read.text("NAGAYA_LOG_LEVEL", "`debug`, `info`, `warning` or `error`", default="info")
    if level.lower() not in _LEVELS:
        read.refuse(f"NAGAYA_LOG_LEVEL={level}: not debug, info, warning or error")
    return level


def _seconds(raw: str) -> float:
    with suppress(ValueError):
        if 0 <= float(raw) < float("inf"):
            return float(raw)
    raise ValueError("not a number of seconds")


def _flag(raw: str) -> bool:
    if raw not in ("true", "false"):
        raise ValueError("not true or false")
    return raw == "true"


def _address(raw: str) -> tuple[str, int]:
    host, _, port = raw.rpartition(":")
    if "://" in host:
        raise ValueError("host:port is meant, without a scheme: NAGAYA_TLS_CERT_FILE makes it TLS")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError("not host:port")
    return host, int(port)


def _path(raw: str) -> Path:
    if "://" in raw:
        raise ValueError("a file is meant: fetch what is at the address, and name the file")
    if not Path(raw).exists():
        raise ValueError("there is no such file")
    return Path(raw)


def _private(raw: str) -> Path:
    path = _path(raw)
    check_private(path)
    return path
