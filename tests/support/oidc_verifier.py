"""Verifiers of the tokens of an OpenID Connect issuer."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from authentication.oidc.config import OidcConfig
from authentication.verifier import Verifier, open_verifier
from servicekit import settings
from servicekit.errors import TokenInvalid
from servicekit.settings import ServerConfig
from servicekit.testing import ISSUER, Keys

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from servicekit.settings import Environment


def configured(keys: Keys, issuer: str, **changes: str) -> tuple[ServerConfig, OidcConfig | None]:
    def both(environment: Environment) -> tuple[ServerConfig, OidcConfig | None]:
        server = ServerConfig.from_environment(environment)
        return server, OidcConfig.from_environment(environment, server)

    variables = {
        "NAGAYA_LISTEN": "127.0.0.1:0",
        "NAGAYA_JWKS_FILE": str(keys.jwks_file),
        "NAGAYA_TOKEN_ISSUER": ISSUER,
        "NAGAYA_WORKLOAD_KEY_FILE": str(keys.key_file("runs")),
        "NAGAYA_OIDC_ISSUER": issuer,
    }
    return settings.read(both, variables | changes)


@asynccontextmanager
async def verifying(keys: Keys, issuer: str, **changes: str) -> AsyncGenerator[Verifier]:
    async with open_verifier(*configured(keys, issuer, **changes)) as verifier:
        yield verifier


async def accepted(verifier: Verifier, token: str) -> bool:
    try:
        await verifier.verify(token)
    except TokenInvalid:
        return False
    return True
