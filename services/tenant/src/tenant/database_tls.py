"""How PostgreSQL is verified: by this service, by its programs, and by another PostgreSQL."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from servicekit.settings import Environment

_VARIABLES = {
    "PGSSLMODE": "how connections to PostgreSQL are secured, in all services: `verify-full`",
    "PGSSLROOTCERT": "the authorities of PostgreSQL's certificate, in PEM, in all services",
    "PGSSLCERT": "the certificate that PostgreSQL is shown, in all services",
    "PGSSLKEY": "its private key",
}
_SYSTEM = "system"
_FILE = re.compile(r"/[\w./-]+", re.ASCII)
_VERIFYING = ("verify-ca", "verify-full")


@dataclass(frozen=True, slots=True)
class DatabaseTls:
    """How connections to PostgreSQL are secured."""

    variables: Mapping[str, str] = field(default_factory=dict[str, str])
    """libpq's, which programs are given; asyncpg reads them by itself."""
    move_root_cert: str = _SYSTEM
    """A file on the database servers, or `system`."""

    @classmethod
    def from_environment(cls, environment: Environment) -> DatabaseTls:
        read = {name: environment.text(name, _VARIABLES[name], default="") for name in _VARIABLES}
        file = environment.text(
            "NAGAYA_MOVE_ROOT_CERT",
            "a file on the database servers: the authorities by which a server verifies the one "
            "that a tenant is moved away from, where `PGSSLMODE` wants servers verified; `system` "
            "for those that its machine trusts",
            default=_SYSTEM,
        )
        if file != _SYSTEM and not _FILE.fullmatch(file):
            environment.refuse(
                f"NAGAYA_MOVE_ROOT_CERT={file}: neither system nor /folder/file of letters, "
                "digits, '.', '-' and '_'"
            )
        return cls({name: value for name, value in read.items() if value}, file)

    def between_servers(self, *, encrypted: bool) -> str:
        """Return the parameters with which one server connects to another.

        Where this service verifies servers they do so, too; else they speak TLS where it does.
        """
        mode = self.variables.get("PGSSLMODE", "")
        if mode not in _VERIFYING:
            return f"sslmode={'require' if encrypted else 'prefer'}"
        if self.move_root_cert == _SYSTEM:  # with which libpq allows nothing weaker
            return "sslmode=verify-full sslrootcert=system"
        return f"sslmode={mode} sslrootcert={self.move_root_cert}"
