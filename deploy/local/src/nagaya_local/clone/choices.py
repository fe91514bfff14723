"""External servers and provider keys, read from the environment of `up`."""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from nagaya_local.clone.addresses import external_address
from nagaya_local.errors import EnvironmentInvalid
from nagaya_local.origins import LOOPBACK, read_origins
from servicekit.settings import Environment, SettingsInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

_PROVIDER_KEYS = {
    "claude": "ANTHROPIC_API_KEY",
    "openai": "OPENAI_API_KEY",
    "gemini": "GEMINI_API_KEY",
}
_ISSUER = "NAGAYA_OIDC_ISSUER"
_OF_PEOPLE = ("NAGAYA_OIDC_",)
_OF_POSTGRES = ("PGSSL",)
_OF_TEMPORAL = ("TEMPORAL_API_KEY", "TEMPORAL_TLS", "NAGAYA_TEMPORAL_NAMESPACE")
TLS = "NAGAYA_DEV_TLS"
"""The variable that `nagaya dev up --tls` sets to `true`."""


@dataclass(frozen=True, slots=True)
class S3Choice:
    """An external S3 server, with its keys."""

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
    otlp_endpoint: str = ""
    """Where the spans of all services go; nowhere when empty."""
    web_origins: tuple[str, ...] = LOOPBACK
    """The origins of pages that may call from a browser."""
    parts: tuple[str, ...] = ()
    """The only parts to run; all when empty."""
    tls: bool = False
    """Whether Envoy and the services speak TLS only, by certificates of the clone."""
    token_command: tuple[str, ...] = ()
    """What is asked for people's tokens; the clone signs them itself when empty."""
    people: Mapping[str, str] = field(default_factory=dict[str, str])
    """The settings of the OpenID Connect issuer of people, by their variables."""
    postgres: Mapping[str, str] = field(default_factory=dict[str, str])
    """How a given PostgreSQL is reached: libpq's variables for TLS."""
    temporal: Mapping[str, str] = field(default_factory=dict[str, str])
    """How a given Temporal is reached: its TLS, API key and namespace, by their variables."""

    @classmethod
    def read(
        cls,
        environment: Mapping[str, str],
        own_ports: Mapping[str, int],
        parts: tuple[str, ...] = (),
    ) -> Choices:
        """Read the environment.

        Addresses of the stack's own parts do not count: a shell into which `endpoints.env` was
        read holds them. Raises EnvironmentInvalid when one is no address, a secret cannot be read,
        or an S3 server is given without its keys.
        """
        given = Environment(environment)
        choices = cls.from_environment(given, own_ports, parts)
        try:
            given.done()
        except SettingsInvalid as invalid:
            raise EnvironmentInvalid("\n  ".join(invalid.problems), "Correct it.") from None
        people = _beginning(environment, _OF_PEOPLE)
        if choices.token_command and _ISSUER not in people:
            raise EnvironmentInvalid(
                f"NAGAYA_DEV_TOKEN_COMMAND is set without {_ISSUER}",
                "Set both, or neither for tokens that the clone signs.",
            )
        return replace(
            choices,
            people=people,
            postgres=_beginning(environment, _OF_POSTGRES if choices.pg_url else ()),
            temporal=_beginning(environment, _OF_TEMPORAL if choices.temporal_address else ()),
        )

    @classmethod
    def from_environment(
        cls, environment: Environment, own_ports: Mapping[str, int], parts: tuple[str, ...]
    ) -> Choices:
        pg_url = environment.secret(
            "NAGAYA_PG_URL",
            "a management database on a real PostgreSQL, instead of the embedded one: the address "
            "of its owner, a role with CREATEDB and CREATEROLE",
            default="",
        )
        temporal = environment.text(
            "TEMPORAL_ADDRESS", "a real Temporal, instead of the embedded one", default=""
        )
        keys = {
            provider: environment.secret(name, f"the models of {provider} are real", default="")
            for provider, name in _PROVIDER_KEYS.items()
        }
        return cls(
            pg_url=external_address("NAGAYA_PG_URL", pg_url, own_ports.get("postgres")),
            s3=_s3(environment, own_ports.get("s3")),
            temporal_address=external_address(
                "TEMPORAL_ADDRESS", temporal, own_ports.get("temporal")
            ),
            provider_keys={provider: key for provider, key in keys.items() if key},
            otlp_endpoint=environment.text(
                "NAGAYA_OTLP_ENDPOINT", "where all services send their spans, by gRPC", default=""
            ),
            web_origins=_web_origins(environment),
            parts=tuple(sorted(parts)),
            tls=_tls(environment),
            token_command=_token_command(environment),
        )

    @property
    def digest(self) -> str:
        """A digest that changes when something else is chosen; tells no key."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def _web_origins(environment: Environment) -> tuple[str, ...]:
    text = environment.text(
        "NAGAYA_WEB_ORIGINS",
        "the origins of pages that may call from a browser, separated by commas, such as "
        "`https://app.example.com`; the port may be `*`; `none` for none",
        default=",".join(LOOPBACK),
    )
    if text == "none":
        return ()
    try:
        return read_origins(part.strip() for part in text.split(","))
    except ValueError as error:
        raise EnvironmentInvalid(
            f"NAGAYA_WEB_ORIGINS: {error}", "Correct it, or unset it for this machine's own pages."
        ) from None


def _beginning(environment: Mapping[str, str], prefixes: tuple[str, ...]) -> dict[str, str]:
    return {
        name: value for name, value in environment.items() if value and name.startswith(prefixes)
    }


def _token_command(environment: Environment) -> tuple[str, ...]:
    text = environment.text(
        "NAGAYA_DEV_TOKEN_COMMAND",
        f"a command that prints a token of the issuer in `{_ISSUER}`: it is given a user, a tenant "
        "(`*` for all) and permissions; without it the clone signs people's tokens itself",
        default="",
    )
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        environment.refuse(f"NAGAYA_DEV_TOKEN_COMMAND: {error}")
        return ()


def _tls(environment: Environment) -> bool:
    text = environment.text(
        TLS, "`true` has Envoy and the services speak TLS only, as `--tls` does", default="false"
    )
    if text not in ("true", "false"):
        raise EnvironmentInvalid(f"{TLS} is neither true nor false", "Correct it, or unset it.")
    return text == "true"


def _s3(environment: Environment, own_port: int | None) -> S3Choice | None:
    endpoint = environment.text(
        "S3_ENDPOINT",
        "a real S3 server, instead of the embedded one; the bucket is `storage`",
        default="",
    )
    keys = {
        "S3_ACCESS_KEY": environment.secret(
            "S3_ACCESS_KEY", "the key pair of that server", default=""
        ),
        "S3_SECRET_KEY": environment.secret("S3_SECRET_KEY", "its secret half", default=""),
    }
    if external_address("S3_ENDPOINT", endpoint, own_port) is None:
        return None
    missing = [name for name, value in keys.items() if not value]
    if missing:
        raise EnvironmentInvalid(
            f"S3_ENDPOINT is set without {' and '.join(missing)}",
            "Set all three, or none for the embedded S3 server.",
        )
    return S3Choice(endpoint, *keys.values())
