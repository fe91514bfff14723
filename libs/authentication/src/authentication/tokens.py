"""Signed tokens: JWS in the compact form (RFC 7515) whose payload are claims (RFC 7519)."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, cast

import jwt
from jwt.utils import base64url_decode

from authentication.keys import ALGORITHMS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from authentication.keys import PublicKey

LEEWAY_SECONDS = 30
"""How far the clocks of issuer and service may differ."""
_SEGMENTS = 3
# RFC 9068 and RFC 8725, section 3.11: what else is signed for other uses is no token for a call.
_TYPES = ("", "jwt", "at+jwt", "application/jwt", "application/at+jwt")


class KeyUnknown(jwt.InvalidTokenError):
    """No key has the `kid` of the token."""

    def __init__(self) -> None:
        super().__init__("no key has its kid")


@dataclass(frozen=True, slots=True)
class Token:
    """A token and what it says, not verified."""

    text: str
    algorithm: str
    kid: str
    claims: Mapping[str, Any]


def parse(text: str) -> Token:
    """Read a token without verifying it. Raises InvalidTokenError.

    A name that occurs twice is refused: readers disagree about which value counts.
    """
    segments = text.split(".")
    if len(segments) != _SEGMENTS:
        raise jwt.DecodeError("not three segments")
    header, claims = (_object(segment) for segment in segments[:2])
    if str(header.get("typ", "")).lower() not in _TYPES:
        raise jwt.InvalidTokenError(f"typ {str(header['typ'])[:40]!r} is no token for calls")
    algorithm = header.get("alg")
    if algorithm not in ALGORITHMS:
        raise jwt.InvalidAlgorithmError(f"alg is none of {', '.join(ALGORITHMS)}")
    return Token(text, algorithm, str(header.get("kid", "")), claims)


def verified(
    token: Token, keys: Sequence[PublicKey], issuer: str, audience: str
) -> tuple[Mapping[str, Any], float]:
    """Return the claims of a token that one of `keys` has signed, and until when that counts.

    All keys have its `kid`. It counts until the token expires or the key does that has signed it,
    in seconds since 1970.

    Raises PyJWTError: for the signature, for another issuer or audience, and for a token that is
    not valid yet or any more, within LEEWAY_SECONDS.
    """
    if not keys:
        raise KeyUnknown
    now = time.time()
    suited = [key for key in keys if token.algorithm in key.algorithms and now < key.expires]
    if not suited and all(key.expires <= now for key in keys):
        raise jwt.InvalidKeyError("its key has expired")
    if not suited:
        raise jwt.InvalidAlgorithmError("alg is not that of the key")
    for key in suited[:-1]:
        try:
            return _signed(token, key, issuer, audience)
        except jwt.InvalidSignatureError:
            continue
    return _signed(token, suited[-1], issuer, audience)


def check_claims(token: Token, issuer: str, audience: str) -> None:
    """Refuse a token by its claims alone, whoever has signed it. Raises PyJWTError."""
    _decode(token, None, issuer, audience)


def _signed(
    token: Token, key: PublicKey, issuer: str, audience: str
) -> tuple[Mapping[str, Any], float]:
    claims = _decode(token, key, issuer, audience)
    return claims, min(float(claims["exp"]), key.expires)


def _decode(token: Token, key: PublicKey | None, issuer: str, audience: str) -> dict[str, Any]:
    return jwt.decode(
        token.text,
        "" if key is None else key.material,
        algorithms=[token.algorithm],  # one of the key's
        audience=audience,
        issuer=issuer,
        leeway=LEEWAY_SECONDS,
        options={
            "require": ["exp", "iss", "aud", "sub"],
            "verify_signature": key is not None,
            "verify_exp": True,
            "verify_nbf": True,
            "verify_iat": True,
            "verify_aud": True,
            "verify_iss": True,
            "verify_sub": True,
        },
    )


def _object(segment: str) -> dict[str, Any]:
    try:
        found: object = json.loads(
            base64url_decode(segment), object_pairs_hook=_unique, parse_constant=_refuse
        )
    except (ValueError, RecursionError):  # of bytes, text or JSON
        raise jwt.DecodeError("malformed segment") from None
    if not isinstance(found, dict):
        raise jwt.DecodeError("a segment is no JSON object")
    return cast("dict[str, Any]", found)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise jwt.DecodeError("a name occurs twice")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
