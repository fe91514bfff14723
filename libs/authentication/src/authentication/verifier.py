"""Verification of tokens: of people, by their issuers, and of workloads, by their own keys."""

from __future__ import annotations

import hashlib
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt

from authentication import claims, tokens
from authentication.claims import PeopleRule
from authentication.key_file import watch_keys
from authentication.oidc.people import People
from servicekit.errors import TokenInvalid
from servicekit.identity import AUDIENCE, WORKLOAD_ISSUER, WORKLOAD_KEY_PREFIX, Principal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from authentication.oidc.config import OidcConfig
    from authentication.tokens import Token
    from servicekit.settings import ServerConfig

_CACHED_TOKENS = 10_000
_OF_FILE = PeopleRule()


class Verifier:
    """Verifies tokens: with the public keys of a JWKS file, and with those of an issuer.

    The file has the keys of workloads and, under other names, of `issuer`, which is the `iss` of
    tokens of people; empty for none. `people` are those of an OpenID Connect issuer. No key of one
    of these three is taken for another's tokens.
    """

    def __init__(self, jwks_file: Path, issuer: str, people: People | None = None) -> None:
        self._keys = watch_keys(jwks_file)
        self._issuer = issuer
        self._people = people
        self._verified: dict[bytes, tuple[Principal, float]] = {}
        self._generations = self._current_generations()

    @classmethod
    def from_file(cls, jwks_file: str | Path, issuer: str) -> Verifier:
        """Read the public keys. Raises StartRefused when the file is no JWKS."""
        return cls(Path(jwks_file), issuer)

    def known(self, token: str) -> Principal | None:
        """Return the principal of a token that has been verified; None when it is to be.

        It is known, by its hash, until it or its key expires, or any keys change.
        """
        self._keys.recheck()
        if self._people is not None:
            self._people.recheck()
        self._forget_if_changed()
        known = self._verified.get(_fingerprint(token))
        return known[0] if known is not None and known[1] > time.time() else None

    async def verify(self, token: str) -> Principal:
        """Return the principal of a token. Raises TokenInvalid, IssuerUnavailable.

        It waits only for a key that its issuer may have published since its keys were fetched.
        """
        known = self.known(token)
        if known is not None:
            return known
        try:
            principal, expiry = await self._check(tokens.parse(token))
        except (jwt.PyJWTError, KeyError, TypeError, ValueError) as error:
            raise TokenInvalid(f"the token is not valid: {_why(error)}") from None
        # Since it was verified nothing was awaited: these keys are those of now.
        self._forget_if_changed()
        if len(self._verified) >= _CACHED_TOKENS:
            self._verified.clear()
        self._verified[_fingerprint(token)] = (principal, expiry)
        return principal

    async def _check(self, token: Token) -> tuple[Principal, float]:
        issuer: object = token.claims.get("iss")
        if token.kid.startswith(WORKLOAD_KEY_PREFIX):
            said, expiry = self._signed_by_file(token, WORKLOAD_ISSUER)
            principal = claims.workload(said, token.kid.removeprefix(WORKLOAD_KEY_PREFIX))
        elif self._people is not None and issuer == self._people.issuer:
            said, expiry = await self._people.verified(token)
            principal = claims.person(said, self._people.rule)
        elif self._issuer and issuer == self._issuer:
            said, expiry = self._signed_by_file(token, self._issuer)
            principal = claims.person(said, _OF_FILE)
        else:
            raise jwt.InvalidIssuerError("its issuer (iss) is not one that is configured")
        return principal, expiry

    def _signed_by_file(self, token: Token, issuer: str) -> tuple[Mapping[str, Any], float]:
        keys = self._keys.content.get(token.kid, ())
        return tokens.verified(token, keys, issuer, AUDIENCE)

    def _forget_if_changed(self) -> None:
        if (current := self._current_generations()) != self._generations:
            self._generations = current
            self._verified.clear()

    def _current_generations(self) -> tuple[int, int]:
        people = self._people
        return self._keys.generation, 0 if people is None else people.generation


@asynccontextmanager
async def open_verifier(server: ServerConfig, oidc: OidcConfig | None) -> AsyncGenerator[Verifier]:
    """Open what verifies a server's tokens; keys are fetched in the background while it is open.

    Raises StartRefused when a file cannot be read, but not when the issuer is away.
    """
    if oidc is None:
        yield Verifier.from_file(server.jwks_file, server.issuer)
        return
    async with People(oidc) as people:
        yield Verifier(server.jwks_file, server.issuer, people)


def _fingerprint(token: str) -> bytes:
    return hashlib.blake2b(token.encode(), digest_size=32).digest()


def _why(error: Exception) -> str:
    known = isinstance(error, jwt.PyJWTError)
    return str(error).lower() if known else f"malformed claim ({type(error).__name__})"
