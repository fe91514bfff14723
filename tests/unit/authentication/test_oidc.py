"""People's tokens of an OpenID Connect issuer: whose are taken."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.oidc_issuer import OidcIssuer, public_jwk
from tests.support.oidc_verifier import accepted, verifying

from servicekit.errors import TokenInvalid
from servicekit.identity import Principal
from servicekit.testing import ISSUER

if TYPE_CHECKING:
    from servicekit.testing import Keys

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_person_is_known_by_a_token_of_the_issuer(
    keys: Keys, issuer: OidcIssuer, algorithm: str
) -> None:
    issuer.add_key("second", algorithm)
    async with verifying(keys, issuer.url) as verifier:
        ada = await verifier.verify(issuer.token("second", algorithm))

    assert ada == Principal("ada", None, frozenset({"acme"}), frozenset({"runs.read"}))


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"aud": "another"}, "audience"),
        ({"aud": None}, "aud"),
        ({"aud": []}, "aud"),
        ({"exp": 1}, "expired"),
        ({"exp": None}, "exp"),
        ({"exp": 1e400}, "malformed"),
        ({"nbf": time.time() + 3600}, "not yet valid"),
        ({"iat": time.time() + 3600}, "not yet valid"),
        ({"iss": "https://elsewhere.test"}, "its issuer"),
        ({"iss": "nagaya:workload"}, "its issuer"),
        ({"sub": None}, "sub"),
        ({"sub": "workload:runs"}, "names no person"),
        ({"sub": "a\0"}, "no name"),
        ({"tenants": "*"}, "no list of texts"),
        ({"tenants": [["*"]]}, "no list of texts"),
        ({"scope": 7}, "no list of texts"),
        ({"cnf": {"jkt": "x"}}, "bound to a key"),
        ({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}, "event"),
    ],
)
async def test_a_token_with_a_wrong_claim_is_refused_with_the_reason(
    keys: Keys, issuer: OidcIssuer, wrong: dict[str, Any], why: str
) -> None:
    async with verifying(keys, issuer.url) as verifier:
        with pytest.raises(TokenInvalid, match=f"the token is not valid: .*{why}"):
            await verifier.verify(issuer.token("first", **wrong))


@pytest.mark.parametrize("seconds", [-29, 29])
async def test_clocks_may_differ_by_half_a_minute(
    keys: Keys, issuer: OidcIssuer, seconds: int
) -> None:
    now = int(time.time())
    async with verifying(keys, issuer.url) as verifier:
        token = issuer.token("first", iat=now + seconds, nbf=now + seconds, exp=now + 30 + seconds)

        assert (await verifier.verify(token)).user_id == "ada"


def signed_by_hand(
    header: dict[str, object], claims: str, secret: bytes | None, signature: bytes = b""
) -> str:
    def encoded(content: bytes) -> str:
        return base64.urlsafe_b64encode(content).rstrip(b"=").decode()

    content = f"{encoded(json.dumps(header).encode())}.{encoded(claims.encode())}"
    if secret is not None:
        signature = hmac.new(secret, content.encode(), hashlib.sha256).digest()
    return f"{content}.{encoded(signature)}"


async def test_neither_unsigned_tokens_nor_secrets_made_of_public_keys_are_taken(
    keys: Keys, issuer: OidcIssuer
) -> None:
    secret = b"a secret that the issuer has published by mistake"
    encoded = base64.urlsafe_b64encode(secret).rstrip(b"=").decode()
    issuer.jwks["keys"].append({"kty": "oct", "kid": "shared", "alg": "HS256", "k": encoded})
    claims = json.dumps(
        {"iss": issuer.url, "aud": "nagaya", "sub": "eve", "exp": time.time() + 60, "scope": "*"}
    )
    public = json.dumps(issuer.jwks["keys"][0]).encode()
    modulus = issuer.jwks["keys"][0]["n"].encode()
    tokens = [
        signed_by_hand({"alg": "none", "kid": "first"}, claims, None),
        signed_by_hand({"alg": "NONE", "kid": "first"}, claims, None),
        signed_by_hand({"alg": ["RS256"], "kid": "first"}, claims, None),
        signed_by_hand({"kid": "first"}, claims, None),
        signed_by_hand({"alg": "HS256", "kid": "shared"}, claims, secret),
        signed_by_hand({"alg": "HS256", "kid": "first"}, claims, public),
        signed_by_hand({"alg": "HS256", "kid": "first"}, claims, modulus),
        signed_by_hand({"alg": "RS256", "kid": "first"}, claims, None),
        signed_by_hand({"alg": "RS256", "kid": "shared"}, claims, secret),
        signed_by_hand({"alg": "ES256", "kid": "first"}, claims, None, b"\0" * 64),
        "[" * 4000,
        f"{'W1tb' * 2000}.{'W1tb' * 2000}.x",
    ]
    async with verifying(keys, issuer.url) as verifier:
        for token in tokens:
            assert not await accepted(verifier, token)


async def test_a_token_s_header_names_no_key_and_no_address(keys: Keys, issuer: OidcIssuer) -> None:
    async with OidcIssuer() as other:
        own = other.add_key("first")
        headers = {
            "jku": f"{other.url}/keys",
            "x5u": f"{other.url}/keys",
            "jwk": public_jwk(own, "first"),
        }
        token = other.token("first", headers=headers, iss=issuer.url)
        async with verifying(keys, issuer.url) as verifier:
            assert not await accepted(verifier, token)
        assert other.requests == []


@pytest.mark.parametrize("name", ["sub", "tenants", "iss"])
async def test_a_claim_that_occurs_twice_is_refused(
    keys: Keys, issuer: OidcIssuer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = json.dumps

    def twice(value: dict[str, object], **_: object) -> str:
        text = plain(value)
        return text[:-1] + f',"{name}":{plain(value[name])}}}' if name in value else text

    with monkeypatch.context() as patched:
        patched.setattr("json.dumps", twice)
        token = issuer.token("first")
    async with verifying(keys, issuer.url) as verifier:
        with pytest.raises(TokenInvalid, match="a name occurs twice"):
            await verifier.verify(token)


@pytest.mark.parametrize("typ", ["logout+jwt", "dpop+jwt", "secevent+jwt", "nagaya-document"])
async def test_what_is_signed_for_other_uses_is_no_token(
    keys: Keys, issuer: OidcIssuer, typ: str
) -> None:
    async with verifying(keys, issuer.url) as verifier:
        assert not await accepted(verifier, issuer.token("first", headers={"typ": typ}))
        assert await accepted(verifier, issuer.token("first", headers={"typ": "at+jwt"}))


async def test_no_key_signs_for_another_issuer_or_for_a_workload(
    keys: Keys, issuer: OidcIssuer
) -> None:
    issuer.add_key("workload-runs", "EdDSA")
    issuer.add_key("person-1", "ES256")
    acting: dict[str, Any] = {"act": {"sub": "runs"}, "sub": "workload:runs"}
    acting["exp"] = int(time.time()) + 60
    async with verifying(keys, issuer.url) as verifier:
        posing = [
            issuer.token("workload-runs", "EdDSA", iss="nagaya:workload", **acting),
            issuer.token("workload-runs", "EdDSA"),
            issuer.token("first", iss=ISSUER),
            issuer.token("person-1", "ES256", iss=ISSUER),
            keys.token(iss=issuer.url),
            keys.signer("runs").token("acme").replace(".", "..", 1),
        ]
        for token in posing:
            assert not await accepted(verifier, token)
        assert await accepted(verifier, keys.token())
        assert await accepted(verifier, keys.signer("runs").token("acme"))
        assert await accepted(verifier, issuer.token("person-1", "ES256"))


@pytest.mark.parametrize(
    "members",
    [{"use": "enc"}, {"alg": "RS384"}, {"alg": "RSA-OAEP"}, {"key_ops": ["encrypt"]}, {"d": "AQ"}],
)
async def test_a_key_for_another_use_verifies_no_token(
    keys: Keys, issuer: OidcIssuer, members: dict[str, Any]
) -> None:
    issuer.add_key("second", **members)
    async with verifying(keys, issuer.url) as verifier:
        assert not await accepted(verifier, issuer.token("second"))


async def test_a_key_verifies_only_by_the_algorithm_that_it_is_for(
    keys: Keys, issuer: OidcIssuer
) -> None:
    issuer.add_key("second", "PS256", alg="PS256")
    async with verifying(keys, issuer.url) as verifier:
        assert not await accepted(verifier, issuer.token("second", "RS256"))
        assert await accepted(verifier, issuer.token("second", "PS256"))
