"""Identity of callers: people with tokens of an issuer, workloads with tokens they sign."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from servicekit.errors import StartRefused, TokenInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey

AUDIENCE = "nagaya"
WORKLOAD_ISSUER = "nagaya:workload"
WORKLOAD_PREFIX = "workload:"
_WORKLOAD_KEY_PREFIX = "workload-"
_ALGORITHMS = ["ES256", "EdDSA"]
_LEEWAY_SECONDS = 30
_WORKLOAD_SECONDS = 300
_CACHED_TOKENS = 10_000
_SUBJECT_BYTES = 256
_TENANT_ID = re.compile(r"[a-z][a-z0-9-]{1,38}[a-z0-9]")  # text_rules.proto
_RECHECK_SECONDS = 1.0
_log = logging.getLogger(__name__)


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


class Verifier:
    """Verifies tokens with the public keys of a JWKS file, read again when the file changes."""

    def __init__(self, jwks_file: Path, issuer: str) -> None:
        self._file = jwks_file
        self._issuer = issuer
        self._keys: dict[str, jwt.PyJWK] = {}
        self._stamp = (0, 0)
        self._recheck_at = 0.0
        self._verified: dict[bytes, tuple[Principal, float]] = {}
        self._refresh()

    @classmethod
    def from_file(cls, jwks_file: str | Path, issuer: str) -> Verifier:
        """Read the public keys. Raises StartRefused when the file is no JWKS."""
        try:
            return cls(Path(jwks_file), issuer)
        except (OSError, ValueError, jwt.PyJWTError) as error:
            raise StartRefused(f"{jwks_file} holds no public keys (JWKS): {error}") from None

    def verify(self, token: str) -> Principal:
        """Return the principal of a token. Raises TokenInvalid.

        A verified token is cached, by its hash, until it expires or the keys change.
        """
        if time.monotonic() >= self._recheck_at:
            self._recheck()
        fingerprint = hashlib.blake2b(token.encode(), digest_size=32).digest()
        known = self._verified.get(fingerprint)
        if known is not None and known[1] > time.time():
            return known[0]
        principal, expiry = self._check(token)
        if len(self._verified) >= _CACHED_TOKENS:
            self._verified.clear()
        self._verified[fingerprint] = (principal, expiry)
        return principal

    def _recheck(self) -> None:
        self._recheck_at = time.monotonic() + _RECHECK_SECONDS
        try:
            self._refresh()
        except (OSError, ValueError, jwt.PyJWTError) as error:
            _log.error(
                "the file of public keys cannot be read",
                extra={"event": "public_keys.read_failed", "why": str(error)},
            )

    def _refresh(self) -> None:
        stat = self._file.stat()
        if (stat.st_mtime_ns, stat.st_size) == self._stamp:
            return
        keys = jwt.PyJWKSet.from_dict(json.loads(self._file.read_bytes())).keys
        self._keys = {key.key_id: key for key in keys if key.key_id}
        self._stamp = (stat.st_mtime_ns, stat.st_size)
        self._verified.clear()

    def _check(self, token: str) -> tuple[Principal, float]:
        try:
            kid = str(jwt.get_unverified_header(token).get("kid", ""))
            claims = self._claims(token, kid)
            principal = _workload(claims, kid) if _is_workload(kid) else _person(claims)
            return principal, float(claims["exp"])
        except (jwt.PyJWTError, KeyError, TypeError, ValueError) as error:
            raise TokenInvalid(f"the token is not valid: {_why(error)}") from None

    def _claims(self, token: str, kid: str) -> dict[str, Any]:
        key = self._keys.get(kid)
        if key is None:
            raise jwt.InvalidKeyError("no key has its kid")
        return jwt.decode(
            token,
            key,
            algorithms=_ALGORITHMS,
            audience=AUDIENCE,
            issuer=WORKLOAD_ISSUER if _is_workload(kid) else self._issuer,
            leeway=_LEEWAY_SECONDS,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )


def _is_workload(kid: str) -> bool:
    return kid.startswith(_WORKLOAD_KEY_PREFIX)


def _person(claims: Mapping[str, Any]) -> Principal:
    user_id = _subject(claims)
    tenants: list[object] = claims.get("tenants", [])
    if type(tenants) is not list or not all(isinstance(tenant, str) for tenant in tenants):
        raise jwt.InvalidTokenError("tenants is no list of texts")
    if user_id.startswith(WORKLOAD_PREFIX):
        raise jwt.InvalidTokenError("sub names no person")
    scope = str(claims.get("scope", "")).split()
    return Principal(user_id, None, frozenset(map(str, tenants)), frozenset(scope))


def _workload(claims: Mapping[str, Any], kid: str) -> Principal:
    name, user_id = kid.removeprefix(_WORKLOAD_KEY_PREFIX), _subject(claims)
    if claims["act"]["sub"] != name:
        raise jwt.InvalidTokenError("the key belongs to another workload")
    if user_id.startswith(WORKLOAD_PREFIX) and user_id != WORKLOAD_PREFIX + name:
        raise jwt.InvalidTokenError("a workload cannot act for another one")
    if claims["exp"] > time.time() + _WORKLOAD_SECONDS + _LEEWAY_SECONDS:
        raise jwt.InvalidTokenError("a workload's token lives for 5 minutes at most")
    tenant = claims.get("tenant")
    if tenant is not None and not (isinstance(tenant, str) and _TENANT_ID.fullmatch(tenant)):
        raise jwt.InvalidTokenError("a workload's token names one tenant or none")
    return Principal(user_id, name, frozenset(() if tenant is None else (tenant,)), frozenset())


def _subject(claims: Mapping[str, Any]) -> str:
    """Return `sub`. Raises InvalidTokenError for what no audit entry could hold."""
    subject = str(claims["sub"])
    if not 0 < len(subject.encode()) <= _SUBJECT_BYTES or "\0" in subject:
        raise jwt.InvalidTokenError(f"sub is no name of 1 to {_SUBJECT_BYTES} bytes")
    return subject


def _why(error: Exception) -> str:
    known = isinstance(error, jwt.PyJWTError)
    return str(error).lower() if known else f"malformed claim ({type(error).__name__})"


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
        if len(self._signed) >= _CACHED_TOKENS:
            self._signed.clear()
        token = self._sign(tenant_id, subject, now + _WORKLOAD_SECONDS)
        self._signed[tenant_id, subject] = (token, now + _WORKLOAD_SECONDS)
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
        header = {"kid": _WORKLOAD_KEY_PREFIX + self.name}
        return jwt.encode(claims, self._key, algorithm=self._algorithm, headers=header)
