"""Signing documents and verifying them.

A signed document is a JSON object of two members: `document`, and `signature`, a detached JWS
(RFC 7515, appendix F) over the canonical form of the document, unencoded (RFC 7797). Canonical is
the shortest form with names sorted; without fractions that is RFC 8785. Any JOSE library verifies
it. `document.type` says what the document is, so that one kind cannot pass for another.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from jsonvalues import JsonMapping, JsonObject, NotJson, canonical, parse_strict

if TYPE_CHECKING:
    from collections.abc import Sequence

    PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey

_ALGORITHMS = ["ES256", "EdDSA"]
_HEADER_TYPE = "nagaya-document"
_MEMBERS = {"document", "signature"}
_LEVELS = 50


class DocumentMalformed(ValueError):
    """A document cannot be signed: it has no type, or holds what is no JSON."""


class SignatureInvalid(Exception):
    """A signed document is not what it should be; the message says why."""


class DocumentSigner:
    """Signs documents with one private key, whose public half is in a JWKS under `key_id`."""

    def __init__(self, key_id: str, private_key: PrivateKey) -> None:
        self._key_id = key_id
        self._key = private_key
        is_edwards = isinstance(private_key, ed25519.Ed25519PrivateKey)
        self._algorithm = "EdDSA" if is_edwards else "ES256"

    @classmethod
    def from_file(cls, key_id: str, key_file: str | Path) -> DocumentSigner:
        """Read a PEM private key, Ed25519 or on the curve P-256.

        Raises ValueError, whose message does not quote the file, and OSError.
        """
        try:
            key = load_pem_private_key(Path(key_file).read_bytes(), password=None)
        except (TypeError, ValueError):
            key = None
        if not isinstance(key, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
            raise ValueError(f"{key_file} holds no Ed25519 or EC private key (PEM, no password)")
        return cls(key_id, key)

    def sign(self, document: JsonMapping) -> bytes:
        """Return the content of a file: the document, in canonical form, and its signature.

        `document` has a member `type`. Raises DocumentMalformed.
        """
        if not isinstance(document.get("type"), str):
            raise DocumentMalformed("a document has a type")
        try:
            payload = canonical(document)
        except NotJson as error:
            raise DocumentMalformed(str(error)) from None
        headers = {"kid": self._key_id, "typ": _HEADER_TYPE}
        signature = jwt.PyJWS().encode(
            payload, self._key, self._algorithm, headers, is_payload_detached=True
        )
        return canonical({"document": document, "signature": signature}) + b"\n"


class PublicKeys:
    """The public keys of a JWKS, by their `kid`. Several may have the same: one of them fits."""

    def __init__(self, keys: Sequence[jwt.PyJWK]) -> None:
        self._keys = keys

    @classmethod
    def from_jwks(cls, text: bytes | str) -> PublicKeys:
        """Read a JWKS (RFC 7517). Raises SignatureInvalid when it is none."""
        try:
            return cls(
                jwt.PyJWKSet.from_json(text if isinstance(text, str) else text.decode()).keys
            )
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError) as error:
            raise SignatureInvalid(f"the keys are no JWKS: {error}") from None

    def verify(self, signed: bytes | str, document_type: str, key_id: str) -> JsonObject:
        """Return the document of a signed file of this type that `key_id` has signed.

        Raises SignatureInvalid.
        """
        document, signature = _parts(signed)
        if document.get("type") != document_type:
            raise SignatureInvalid(f"it is no {document_type}, but {document.get('type')}")
        header = _header(signature)
        if header.get("kid") != key_id or header.get("typ") != _HEADER_TYPE:
            raise SignatureInvalid(f"it is not signed with the key {key_id}")
        candidates = [key for key in self._keys if key.key_id == key_id]
        if not candidates:
            raise SignatureInvalid(f"the JWKS has no key {key_id}")
        payload = canonical(document)
        if not any(_fits(signature, payload, key) for key in candidates):
            raise SignatureInvalid("the document is not what was signed")
        return document


def _parts(signed: bytes | str) -> tuple[JsonObject, str]:
    try:
        file = parse_strict(signed, levels=_LEVELS)
    except NotJson as error:
        raise SignatureInvalid(str(error)) from None
    members: JsonObject = file if isinstance(file, dict) else {}
    document, signature = members.get("document"), members.get("signature")
    if (
        members.keys() != _MEMBERS
        or not isinstance(document, dict)
        or not isinstance(signature, str)
    ):
        raise SignatureInvalid("it is no signed document: `document` and `signature` are expected")
    return document, signature


def _header(signature: str) -> dict[str, Any]:
    try:
        return jwt.get_unverified_header(signature)
    except jwt.PyJWTError as error:
        raise SignatureInvalid(f"its signature is malformed: {error}") from None


def _fits(signature: str, payload: bytes, key: jwt.PyJWK) -> bool:
    try:
        jwt.PyJWS().decode(signature, key, _ALGORITHMS, detached_payload=payload)
    except jwt.PyJWTError:
        return False
    return True
