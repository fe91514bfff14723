"""What the caller's environment replaces: embedded parts by real ones, the stub by providers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from nagaya_local.errors import PreflightFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

_PROVIDER_KEYS = {
    "claude": "ANTHROPIC_API_KEY",
    "openai": "OPENAI_API_KEY",
    "gemini": "GEMINI_API_KEY",
}
_S3 = ("S3_ENDPOINT", "S3_ACCESS_KEY", "S3_SECRET_KEY")


@dataclass(frozen=True, slots=True)
class S3Choice:
    endpoint: str
    access_key: str
    secret_key: str


@dataclass(frozen=True, slots=True)
class Choices:
    """Addresses and keys that were given; None where the embedded part is to run."""

    pg_url: str | None
    s3: S3Choice | None
    temporal_address: str | None
    provider_keys: Mapping[str, str]
    """By provider id (`claude`, `openai`, `gemini`): whose models are really called."""
    parts: tuple[str, ...] = ()
    """The only parts to run; all when empty."""

    @classmethod
    def read(
        cls,
        environment: Mapping[str, str],
        own_ports: Mapping[str, int],
        parts: tuple[str, ...] = (),
    ) -> Choices:
        """Read the environment.

        Addresses of the stack's own parts do not count: a shell into which `endpoints.env` was
        read holds them. Raises PreflightFailed when an S3 server is given without its keys.
        """
        pg_url = environment.get("NAGAYA_PG_URL") or None
        temporal = environment.get("TEMPORAL_ADDRESS") or None
        return cls(
            pg_url=None if _is_own(pg_url, own_ports.get("postgres")) else pg_url,
            s3=_s3(environment, own_ports.get("s3")),
            temporal_address=None if _is_own(temporal, own_ports.get("temporal")) else temporal,
            provider_keys={
                provider: environment[name]
                for provider, name in _PROVIDER_KEYS.items()
                if environment.get(name)
            },
            parts=tuple(sorted(parts)),
        )

    @property
    def digest(self) -> str:
        """A digest that changes when something else is chosen; tells no key."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def _s3(environment: Mapping[str, str], own_port: int | None) -> S3Choice | None:
    values = [environment.get(name, "") for name in _S3]
    if not values[0] or _is_own(values[0], own_port):
        return None
    missing = [name for name, value in zip(_S3, values, strict=True) if not value]
    if missing:
        raise PreflightFailed(
            f"S3_ENDPOINT is set without {' and '.join(missing)}",
            "Set all three, or none for the embedded S3 server.",
        )
    return S3Choice(*values)


def _is_own(address: str | None, port: int | None) -> bool:
    if address is None or port is None:
        return False
    parts = urlsplit(address if "//" in address else f"//{address}")
    return (parts.hostname, parts.port) == ("127.0.0.1", port)
