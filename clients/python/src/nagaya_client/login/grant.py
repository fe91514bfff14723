"""Where a person logs in, and what they are given there."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class LoginSettings:
    """Where one logs in, as which client, and for what."""

    issuer: str
    client_id: str
    scope: str = ""
    """What is asked for besides `openid` and `offline_access`, with spaces between."""
    audience: str = ""
    """For which API, as providers such as Auth0 are asked; not asked for when empty."""
    resource: str = ""
    """For which API, as RFC 8707 asks; not asked for when empty."""
    ca_file: str = ""
    """Certificates to trust, in PEM; those of the system when empty."""

    @property
    def api(self) -> dict[str, str]:
        """Return the parameters that name the API."""
        named = {"audience": self.audience, "resource": self.resource}
        return {name: value for name, value in named.items() if value}


@dataclass(frozen=True, slots=True)
class Grant:
    """What a provider has given: a token, until when, and what renews it."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    """Empty when the provider gives none."""
    renew_time: float
    """When the token is to be renewed, in seconds since 1970."""
    expire_time: float

    def is_fresh(self) -> bool:
        """Whether the token is valid, and need not be renewed yet."""
        renew_time = self.renew_time if self.refresh_token else self.expire_time
        return time.time() < min(renew_time, self.expire_time)
