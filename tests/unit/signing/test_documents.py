"""Signed documents: verified by keys alone, and refused when anything is not as it was signed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

from servicekit.testing import Keys
from signing import DocumentMalformed, DocumentSigner, PublicKeys, SignatureInvalid

if TYPE_CHECKING:
    from pathlib import Path

PrivateKey: TypeAlias = "ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey"
KID = "workload-tenant"
TYPE = "nagaya.test.v1"
DOCUMENT = {
    "type": TYPE,
    "名前": "長屋 😀",
    "count": 2**60,
    "ratio": 0.1,
    "empty": [],
    "none": None,
    "nested": {"b": [True, False], "a": "line\n"},
}


@pytest.fixture(
    params=[ed25519.Ed25519PrivateKey.generate, lambda: ec.generate_private_key(ec.SECP256R1())]
)
def key(request: pytest.FixtureRequest) -> PrivateKey:
    return request.param()


def jwks(*keys: PrivateKey, kid: str = KID) -> str:
    def public(key: PrivateKey) -> dict[str, Any]:
        if isinstance(key, ec.EllipticCurvePrivateKey):
            return {**ECAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid}
        return {**OKPAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid}

    return json.dumps({"keys": [public(key) for key in keys]})


def test_a_document_is_verified_with_the_public_key_alone(key: PrivateKey) -> None:
    content = DocumentSigner(KID, key).sign(DOCUMENT)

    assert PublicKeys.from_jwks(jwks(key)).verify(content, TYPE, KID) == DOCUMENT


def test_a_file_that_was_formatted_anew_is_still_the_same(key: PrivateKey) -> None:
    content = json.loads(DocumentSigner(KID, key).sign(DOCUMENT))
    formatted = json.dumps(dict(reversed(content.items())), indent=4)

    assert PublicKeys.from_jwks(jwks(key)).verify(formatted, TYPE, KID) == DOCUMENT


def test_a_key_that_signs_no_more_still_verifies(key: PrivateKey) -> None:
    content = DocumentSigner(KID, key).sign(DOCUMENT)

    keys = PublicKeys.from_jwks(jwks(ed25519.Ed25519PrivateKey.generate(), key))

    assert keys.verify(content, TYPE, KID) == DOCUMENT


def test_every_single_changed_byte_is_noticed_or_changes_nothing(key: PrivateKey) -> None:
    content = DocumentSigner(KID, key).sign({"type": TYPE, "found": {"after": 0, "before": 12}})
    keys = PublicKeys.from_jwks(jwks(key))
    read = keys.verify(content, TYPE, KID)

    for place in range(len(content) - 1):
        for changed in (content[place] ^ 1, ord("0"), ord(" ")):
            mutated = content[:place] + bytes([changed]) + content[place + 1 :]
            try:
                assert keys.verify(mutated, TYPE, KID) == read, mutated
            except SignatureInvalid:
                continue


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "JSON"),
        (b"[]", "document"),
        (b"{}", "document"),
        (b'{"document": {}, "signature": 1}', "document"),
        (b'{"document": {}, "signature": "", "more": 1}', "document"),
        (b'{"document": {"type": "nagaya.test.v1"}, "signature": "x"}', "malformed"),
        (b'{"document": {"type": "other"}, "signature": "x"}', "other"),
        (b"\xff\xfe", "UTF-8"),
        (b'{"document": ' + b"[" * 100_000, "deep"),
    ],
)
def test_what_is_no_signed_document_is_refused_with_the_reason(content: bytes, why: str) -> None:
    keys = PublicKeys.from_jwks(jwks(ed25519.Ed25519PrivateKey.generate()))

    with pytest.raises(SignatureInvalid, match=why):
        keys.verify(content, TYPE, KID)


def test_another_signer_another_type_and_an_unknown_key_are_refused(key: PrivateKey) -> None:
    content = DocumentSigner(KID, key).sign(DOCUMENT)
    other = DocumentSigner("workload-runs", key).sign(DOCUMENT)

    with pytest.raises(SignatureInvalid, match=r"no nagaya\.other\.v1"):
        PublicKeys.from_jwks(jwks(key)).verify(content, "nagaya.other.v1", KID)
    with pytest.raises(SignatureInvalid, match="not signed with the key workload-tenant"):
        PublicKeys.from_jwks(jwks(key)).verify(other, TYPE, KID)
    with pytest.raises(SignatureInvalid, match="has no key"):
        PublicKeys.from_jwks(jwks(key, kid="issuer")).verify(content, TYPE, KID)
    stranger = ed25519.Ed25519PrivateKey.generate()
    with pytest.raises(SignatureInvalid, match="not what was signed"):
        PublicKeys.from_jwks(jwks(stranger)).verify(content, TYPE, KID)


def test_a_token_of_the_same_key_is_no_signature(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    token = keys.signer("tenant").token("acme")
    content = json.dumps({"document": {"type": TYPE}, "signature": token})

    with pytest.raises(SignatureInvalid):
        PublicKeys.from_jwks(keys.jwks_file.read_bytes()).verify(content, TYPE, KID)


def test_what_is_no_document_is_not_signed(key: PrivateKey) -> None:
    signer = DocumentSigner(KID, key)

    for wrong in (
        {},
        {"type": 1},
        {"type": TYPE, "x": float("nan")},
        {"type": TYPE, "x": "\ud800"},
    ):
        with pytest.raises(DocumentMalformed):
            signer.sign(wrong)


def test_a_key_file_is_read_and_what_is_none_is_not_quoted(tmp_path: Path) -> None:
    file = tmp_path / "tenant.pem"
    key = ed25519.Ed25519PrivateKey.generate()
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    content = DocumentSigner.from_file(KID, file).sign(DOCUMENT)

    assert PublicKeys.from_jwks(jwks(key)).verify(content, TYPE, KID) == DOCUMENT

    file.write_text("a secret that is no key")
    with pytest.raises(ValueError, match="holds no Ed25519 or EC private key") as error:
        DocumentSigner.from_file(KID, file)
    assert "secret" not in str(error.value)
    with pytest.raises(SignatureInvalid, match="no JWKS"):
        PublicKeys.from_jwks("a secret that is no key")
