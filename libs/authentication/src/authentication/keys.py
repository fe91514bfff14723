"""Public keys of a JWKS (RFC 7517), and what each of them may verify."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Material: TypeAlias = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
MOST_KEYS = 100
_RSA_BITS = range(2048, 8193)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key, and the algorithms whose signatures it verifies; a token chooses none."""

    kid: str
    material: Material
    algorithms: tuple[str, ...]
    expires: float = inf
    """Until when its signatures of tokens count, in seconds since 1970."""


KeySet: TypeAlias = "Mapping[str, tuple[PublicKey, ...]]"
"""Keys by `kid`. Several have the same one while a key takes over from another."""


def read_keys(jwks: bytes) -> KeySet:
    """Return the keys of a JWKS that verify signatures by ALGORITHMS.

    Other keys are left out: symmetric and private ones, of other curves or sizes, for encryption,
    without a `kid`. Raises ValueError for what is no JWKS, or has more than MOST_KEYS keys.
    """
    try:
        content: object = json.loads(jwks)
    except RecursionError:
        raise ValueError("it is no JSON") from None
    listed: object = cast("dict[str, object]", content).get("keys") if _is_object(content) else None
    if not isinstance(listed, list):
        raise ValueError("it is no JWKS: an object with a list `keys`")
    entries = cast("list[object]", listed)
    if len(entries) > MOST_KEYS:
        raise ValueError(f"{len(entries)} keys are more than {MOST_KEYS}")
    found: dict[str, tuple[PublicKey, ...]] = {}
    for key in filter(None, map(_read, entries)):
        found[key.kid] = (*found.get(key.kid, ()), key)
    return found


def _read(entry: object) -> PublicKey | None:
    if not _is_object(entry):
        return None
    jwk = cast("dict[str, Any]", entry)
    kid = jwk.get("kid")
    if not isinstance(kid, str) or not kid or "d" in jwk or jwk.get("use", "sig") != "sig":
        return None
    try:
        if (operations := jwk.get("key_ops")) is not None and "verify" not in operations:
            return None
        material = _material(jwk)
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError, ArithmeticError):
        return None  # whatever it is, it verifies nothing
    declared: object = jwk.get("alg")
    algorithms = tuple(name for name in _suited(material) if declared in (None, name))
    # As OpenID Federation 1.0 has it for historical keys: they sign no more.
    expires: object = jwk.get("exp", inf)
    if not algorithms or not isinstance(expires, int | float):
        return None
    return PublicKey(kid, cast("Material", material), algorithms, expires)


def _material(jwk: Mapping[str, Any]) -> object:
    match jwk.get("kty"):
        case "RSA":
            return RSAAlgorithm.from_jwk(dict(jwk))
        case "EC":
            return ECAlgorithm.from_jwk(dict(jwk))
        case "OKP":
            return OKPAlgorithm.from_jwk(dict(jwk))
        case _:
            return None


def _suited(material: object) -> Iterator[str]:
    if isinstance(material, RSAPublicKey) and material.key_size in _RSA_BITS:
        yield from ("RS256", "PS256")
    elif isinstance(material, EllipticCurvePublicKey) and isinstance(material.curve, SECP256R1):
        yield "ES256"
    elif isinstance(material, Ed25519PublicKey):
        yield "EdDSA"


def _is_object(value: object) -> bool:
    return isinstance(value, dict)
