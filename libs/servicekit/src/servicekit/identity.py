"""Identity of callers: people, and workloads with the tokens that they sign."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from servicekit.errors import StartRefused

PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey

AUDIENCE = "nagaya"
WORKLOAD_ISSUER = "nagaya:workload"
WORKLOAD_PREFIX = "workload:"
WORKLOAD_KEY_PREFIX = "workload-"
WORKLOAD_SECONDS = 300
"""How long a workload's token lives at most."""
_SIGNED_TOKENS = 10_000


@dataclass(frozen=True, slots=True)
class Principal:
    """A verified caller."""

    user_id: str
    """The person, or `workload:<name>` where a workload calls for itself."""
    workload: str | None
    """The service that calls on somebody's behalf; None when a person calls."""
    tenants: frozenset[str]
    scope: frozenset[str]

    def may(self, permission: str) -> bool:
        """Return whether the scope has `permission`, its family (`runs.*`), or `*`."""
        family = permission.partition(".")[0] + ".*"
        return permission in self.scope or family in self.scope or "*" in self.scope

    @property
    def everywhere(self) -> bool:
        """Whether the caller may act for all tenants."""
        return "*" in self.tenants

    def covers(self, tenant_id: str) -> bool:
        """Return whether the caller may act for a tenant; only `*` covers the empty one."""
        return self.everywhere or (tenant_id != "" and tenant_id in self.tenants)


def workload_principal(name: str) -> Principal:
    """Return the principal of a workload that acts for nobody."""
    return Principal(WORKLOAD_PREFIX + name, name, frozenset(), frozenset())


class WorkloadSigner:
    """Signs the tokens with which one workload calls the others; they live for 5 minutes."""

    def __init__(self, name: str, private_key: PrivateKey) -> None:
        self.name = name
        self._key = private_key
        is_edwards = isinstance(private_key, ed25519.Ed25519PrivateKey)
        self._algorithm = "EdDSA" if is_edwards else "ES256"
        self._signed: dict[tuple[str | None, str], tuple[str, float]] = {}

    @classmethod
    def from_file(cls, name: str, key_file: str | Path) -> WorkloadSigner:
        """Read a PEM private key, Ed25519 or on the curve P-256. Raises StartRefused."""
        try:
            key = load_pem_private_key(Path(key_file).read_bytes(), password=None)
        except (OSError, TypeError, ValueError):  # their words may quote the file
            key = None
        if not isinstance(key, PrivateKey):
            raise StartRefused(f"{key_file} holds no Ed25519 or EC private key (PEM, no password)")
        return cls(name, key)

    def token(self, tenant_id: str | None = None, user_id: str | None = None) -> str:
        """Return a token for a tenant (None: for none) and a person (None: for the workload).

        It stays valid for a minute at least.
        """
        person = user_id is not None and not user_id.startswith(WORKLOAD_PREFIX)
        subject = user_id if person and user_id else WORKLOAD_PREFIX + self.name
        known = self._signed.get((tenant_id, subject))
        now = time.time()
        if known is not None and known[1] > now + 60:
            return known[0]
        if len(self._signed) >= _SIGNED_TOKENS:
            self._signed.clear()
        token = self._sign(tenant_id, subject, now + WORKLOAD_SECONDS)
        self._signed[tenant_id, subject] = (token, now + WORKLOAD_SECONDS)
        return token

    def _sign(self, tenant_id: str | None, subject: str, expiry: float) -> str:
        claims: dict[str, Any] = {
            "iss": WORKLOAD_ISSUER,
            "aud": AUDIENCE,
            "sub": subject,
            "act": {"sub": self.name},
            "exp": int(expiry),
        }
        if tenant_id is not None:
            claims["tenant"] = tenant_id
        header = {"kid": WORKLOAD_KEY_PREFIX + self.name}
        return jwt.encode(claims, self._key, algorithm=self._algorithm, headers=header)
