"""The people of an OpenID Connect issuer: their tokens, and what their claims mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from authentication import tokens
from authentication.claims import PeopleRule
from authentication.oidc.groups import watch_groups
from authentication.oidc.issuer import Issuer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

    from authentication.oidc.config import OidcConfig
    from authentication.tokens import Token


class People:
    """Verifies the tokens of an issuer's people; enter it, and its keys are fetched.

    Raises StartRefused when the file of groups cannot be read.
    """

    def __init__(self, config: OidcConfig) -> None:
        self.issuer = config.issuer
        self._audience = config.audience
        self._mapping = config.mapping
        self._groups = None if config.groups_file is None else watch_groups(config.groups_file)
        self._keys = Issuer(config.issuer, config.ca_file)

    async def __aenter__(self) -> Self:
        await self._keys.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._keys.__aexit__(kind, error, traceback)

    @property
    def generation(self) -> int:
        """How often keys or groups have changed."""
        return self._keys.generation + (0 if self._groups is None else self._groups.generation)

    @property
    def rule(self) -> PeopleRule:
        """How the claims are read at the moment."""
        return PeopleRule(self._mapping, {} if self._groups is None else self._groups.content)

    def recheck(self) -> None:
        """Read the file of groups again if it has changed."""
        if self._groups is not None:
            self._groups.recheck()

    async def verified(self, token: Token) -> tuple[Mapping[str, Any], float]:
        """Return the claims of a token, and until when they count.

        Raises PyJWTError, IssuerUnavailable.
        """
        # Before a key is waited for: whoever is refused in any case causes no request.
        tokens.check_claims(token, self.issuer, self._audience)
        keys = await self._keys.keys(token.kid)
        return tokens.verified(token, keys, self.issuer, self._audience)
