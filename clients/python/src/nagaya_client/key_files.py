"""Files with the keys of an installation: private keys, the JWKS of their public halves, key rings.

Nothing that exists is overwritten: a private key that is lost cannot be made again.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import time
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

from nagaya_client.errors import NagayaError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    PrivateKey: TypeAlias = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
    Jwk: TypeAlias = dict[str, Any]

WORKLOADS = ("tenant", "runs", "artifacts", "llm-gateway")
AUDIENCE = "nagaya"
_RING_BYTES = 32
_SECONDS_PER_HOUR = 3600


class KeyFileInvalid(NagayaError):
    """A file of keys is not what it should be, or is there already."""


def new_key(file: Path, kid: str, jwks: Path | None = None) -> Jwk:
    """Write a new Ed25519 private key, mode 0600, and return its public half under `kid`.

    The public half is added to `jwks` too, which is made when it is missing; keys of the same `kid`
    stay in it. Raises KeyFileInvalid and OSError, and then leaves neither file changed.
    """
    published = [] if jwks is None else _keys_of(jwks, missing=[])
    private = ed25519.Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    jwk = public_jwk(private, kid)
    _create_private(file, pem)
    if jwks is not None:
        try:
            _replace(jwks, {"keys": [*published, jwk]})
        except BaseException:
            file.unlink()
            raise
    return jwk


def retire(jwks: Path, kid: str, keep: Path) -> int:
    """Let all keys of `kid` expire but the public half of `keep`; return how many did so now.

    They stay in the file, because they verify the documents that they have signed. Raises
    KeyFileInvalid when the key that is kept is not among them, or expires itself.
    """
    keys = _keys_of(jwks)
    kept = public_jwk(read_private(keep), kid)
    same = [jwk for jwk in keys if jwk.get("kid") == kid]
    own = [jwk for jwk in same if all(jwk.get(name) == kept.get(name) for name in "xy")]
    others = [jwk for jwk in same if jwk not in own]
    if not own:
        raise KeyFileInvalid(
            f"{jwks} has no key {kid} that belongs to {keep}",
            "Without it nobody would trust that key: add it first.",
        )
    if all("exp" in jwk for jwk in own):
        raise KeyFileInvalid(
            f"{jwks} lets the key {kid} that belongs to {keep} expire",
            "Without the others nobody would be trusted then: keep one that does not expire.",
        )
    now = int(time.time())
    changed = [jwk for jwk in others if not jwk.get("exp", now + 1) <= now]
    for jwk in changed:
        jwk["exp"] = now
    if changed:
        _replace(jwks, {"keys": keys})
    return len(changed)


def new_ring(file: Path) -> None:
    """Write a key ring with one key. Raises KeyFileInvalid when the file exists."""
    key = base64.b64encode(secrets.token_bytes(_RING_BYTES)).decode()
    _create_private(file, json.dumps({"active": "k1", "keys": {"k1": key}}).encode() + b"\n")


def sign_token(
    key_file: Path,
    kid: str,
    issuer: str,
    user_id: str,
    tenants: Sequence[str],
    permissions: Sequence[str],
    hours: float,
) -> str:
    """Return a person's token, signed with an issuer's key. Raises KeyFileInvalid."""
    private, now = read_private(key_file), int(time.time())
    claims = {
        "iss": issuer,
        "aud": AUDIENCE,
        "sub": user_id,
        "iat": now,
        "exp": now + int(hours * _SECONDS_PER_HOUR),
        "scope": " ".join(permissions),
        "tenants": list(tenants),
    }
    algorithm = "EdDSA" if isinstance(private, ed25519.Ed25519PrivateKey) else "ES256"
    return jwt.encode(claims, private, algorithm, {"kid": kid})


def public_jwk(private: PrivateKey, kid: str) -> Jwk:
    """Return the public half of a key as a JWK."""
    if isinstance(private, ed25519.Ed25519PrivateKey):
        jwk: Jwk = OKPAlgorithm.to_jwk(private.public_key(), as_dict=True)
        return jwk | {"kid": kid, "alg": "EdDSA", "use": "sig"}
    jwk = ECAlgorithm.to_jwk(private.public_key(), as_dict=True)
    return jwk | {"kid": kid, "alg": "ES256", "use": "sig"}


def read_private(file: Path) -> PrivateKey:
    """Read a private key, Ed25519 or on the curve P-256. Raises KeyFileInvalid."""
    try:
        key = serialization.load_pem_private_key(file.read_bytes(), password=None)
    except (TypeError, ValueError):  # their words may quote the file
        key = None
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise KeyFileInvalid(f"{file} holds no Ed25519 or P-256 private key (PEM, no password)")


def _keys_of(jwks: Path, missing: list[Jwk] | None = None) -> list[Jwk]:
    if missing is not None and not jwks.exists():
        return missing
    try:
        content: object = json.loads(jwks.read_bytes())
    except (ValueError, RecursionError):
        content = None
    found: object = cast("Jwk", content).get("keys") if isinstance(content, dict) else None
    keys = cast("list[object]", found) if isinstance(found, list) else [None]
    if not all(isinstance(key, dict) for key in keys):
        raise KeyFileInvalid(f"{jwks} is no JWKS", "It is a JSON object with a list `keys`.")
    return cast("list[Jwk]", keys)


def _create_private(file: Path, content: bytes) -> None:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise KeyFileInvalid(
            f"{file} exists already", "A key that is overwritten is lost: choose another file."
        ) from None
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(content)


def _replace(file: Path, content: object) -> None:
    """Replace a file in one step, with its mode: a process may read it at any time."""
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        draft.write_text(json.dumps(content, indent=2) + "\n")
        if file.exists():
            draft.chmod(file.stat().st_mode & 0o777)
        draft.replace(file)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
