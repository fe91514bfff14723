from __future__ import annotations

import asyncio
import json
import os
import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from authentication.testing import verifier_of
from authentication.verifier import Verifier
from servicekit.call import acting_as, current_principal
from servicekit.errors import TokenInvalid, TokenMissing
from servicekit.identity import Principal, workload_principal
from servicekit.testing import ISSUER, Keys

if TYPE_CHECKING:
    from pathlib import Path

    from servicekit.identity import PrivateKey


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


def private_key(keys: Keys, workload: str) -> PrivateKey:
    return keys.signer(workload)._key


def signed(keys: Keys, workload: str, kid: str, **changes: object) -> str:
    """Sign a workload's token by hand, with something in it changed; None leaves a claim out."""
    claims: dict[str, Any] = {
        "iss": "nagaya:workload",
        "aud": "nagaya",
        "sub": f"workload:{workload}",
        "act": {"sub": workload},
        "exp": time.time() + 60,
    }
    claims = {name: value for name, value in (claims | changes).items() if value is not None}
    return jwt.encode(claims, private_key(keys, workload), "EdDSA", headers={"kid": kid})


async def test_a_person_is_known_by_the_token_of_the_issuer(keys: Keys) -> None:
    token = keys.token("ada", scope="runs.read prompts.*", tenants=["acme"])

    ada = await verifier_of(keys).verify(token)

    assert ada == Principal("ada", None, frozenset({"acme"}), frozenset({"runs.read", "prompts.*"}))
    assert ada.may("runs.read")
    assert ada.may("prompts.write")
    assert not ada.may("runs.write")
    assert ada.covers("acme")
    assert not ada.covers("globex")
    assert not ada.covers("")


async def test_whoever_may_act_for_all_tenants_may_act_for_none(keys: Keys) -> None:
    operator = await verifier_of(keys).verify(keys.token(scope="*", tenants=["*"]))

    assert operator.covers("acme")
    assert operator.covers("")
    assert operator.may("tenants.write")


async def test_a_workload_carries_the_tenant_and_the_person_it_acts_for(keys: Keys) -> None:
    token = keys.signer("runs").token("acme", "ada")

    runs = await verifier_of(keys).verify(token)

    assert (runs.user_id, runs.workload, runs.tenants) == ("ada", "runs", frozenset({"acme"}))


async def test_a_workload_on_its_own_account_is_named_itself(keys: Keys) -> None:
    signer, verifier = keys.signer("runs"), verifier_of(keys)

    assert await verifier.verify(signer.token()) == workload_principal("runs")
    assert (
        await verifier.verify(signer.token("acme", "workload:artifacts"))
    ).user_id == "workload:runs"


@pytest.mark.parametrize(
    "wrong",
    [
        {"exp": 1},
        {"iss": "https://elsewhere.test"},
        {"iss": "nagaya:workload"},
        {"aud": "other"},
        {"sub": "workload:runs"},
        {"sub": ""},
        {"sub": "\ud800"},
        {"sub": "a\0"},
        {"sub": "a" * 257},
        {"tenants": "*"},
        {"tenants": "acme"},
        {"tenants": {"*": True}},
        {"tenants": ["acme", 7]},
        {"tenants": None},
    ],
)
async def test_a_person_s_token_with_a_wrong_claim_is_refused(
    keys: Keys, wrong: dict[str, Any]
) -> None:
    with pytest.raises(TokenInvalid):
        await verifier_of(keys).verify(keys.token(**wrong))


@pytest.mark.parametrize(
    "wrong",
    [
        {"act": {"sub": "artifacts"}},
        {"act": None},
        {"sub": "workload:artifacts"},
        {"exp": time.time() + 3600},
        {"exp": None},
        {"iss": ISSUER},
        {"tenant": "*"},
        {"tenant": ""},
        {"tenant": ["acme"]},
        {"tenant": "acme globex"},
    ],
)
async def test_a_workload_s_token_with_a_wrong_claim_is_refused(
    keys: Keys, wrong: dict[str, Any]
) -> None:
    with pytest.raises(TokenInvalid):
        await verifier_of(keys).verify(signed(keys, "runs", "workload-runs", **wrong))


async def test_a_workload_s_key_signs_for_nobody_else(keys: Keys) -> None:
    verifier = verifier_of(keys)
    posing_as_artifacts = signed(keys, "runs", "workload-artifacts", act={"sub": "artifacts"})
    posing_as_a_person = signed(keys, "runs", "person-1", iss=ISSUER, sub="ada")

    for token in (posing_as_artifacts, posing_as_a_person):
        with pytest.raises(TokenInvalid):
            await verifier.verify(token)


async def test_algorithms_beside_es256_and_eddsa_are_refused(keys: Keys) -> None:
    claims = {"iss": ISSUER, "aud": "nagaya", "sub": "ada", "exp": time.time() + 60}
    public = json.loads(keys.jwks_file.read_text())["keys"][0]["x"]
    unsigned = jwt.encode(claims, "", "none", headers={"kid": "person-1"})
    symmetric = jwt.encode(claims, public, "HS256", headers={"kid": "person-1"})

    for token in (unsigned, symmetric, "not.a.token", "", "a" * 9000):
        with pytest.raises(TokenInvalid):
            await verifier_of(keys).verify(token)


async def test_a_token_signed_by_a_key_that_nobody_published_is_refused(keys: Keys) -> None:
    claims = {"iss": ISSUER, "aud": "nagaya", "sub": "ada", "exp": time.time() + 60}
    stranger = ec.generate_private_key(ec.SECP256R1())

    for kid in ("person-1", "person-2"):
        with pytest.raises(TokenInvalid):
            await verifier_of(keys).verify(
                jwt.encode(claims, stranger, "ES256", headers={"kid": kid})
            )


async def test_keys_are_read_again_when_their_file_changes(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("authentication.watched_file._RECHECK_SECONDS", 0.0)
    old, verifier = keys.token(), verifier_of(keys)
    await verifier.verify(old)
    (tmp_path / "new").mkdir()
    newer = Keys(tmp_path / "new")

    keys.jwks_file.write_bytes(newer.jwks_file.read_bytes())
    os.utime(keys.jwks_file, ns=(1, 1))

    assert (await verifier.verify(newer.token("eve"))).user_id == "eve"
    with pytest.raises(TokenInvalid):
        await verifier.verify(old)


async def test_a_broken_key_file_leaves_the_keys_as_they_are(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("authentication.watched_file._RECHECK_SECONDS", 0.0)
    verifier = verifier_of(keys)
    keys.jwks_file.write_text("{ half written")

    assert (await verifier.verify(keys.token("ada"))).user_id == "ada"


async def test_verified_tokens_are_remembered_until_they_expire(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("authentication.tokens.LEEWAY_SECONDS", 0)
    expiry = int(time.time()) + 2
    token, verifier = keys.token(exp=expiry), Verifier.from_file(keys.jwks_file, ISSUER)
    first = await verifier.verify(token)

    assert await verifier.verify(token) is first
    await asyncio.sleep(max(0.0, expiry - time.time()) + 0.01)
    with pytest.raises(TokenInvalid):
        await verifier.verify(token)


def change_keys(keys: Keys, kid: str, **members: object) -> None:
    """Change the public keys of a `kid` in the file."""
    jwks = json.loads(keys.jwks_file.read_text())
    for jwk in jwks["keys"]:
        jwk.update(members if jwk["kid"] == kid else {})
    keys.jwks_file.write_text(json.dumps(jwks))


async def test_a_token_is_remembered_no_longer_than_its_key_counts(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    change_keys(keys, "person-1", exp=now + 60)
    token, verifier = keys.token(exp=int(now) + 600), Verifier.from_file(keys.jwks_file, ISSUER)
    assert (await verifier.verify(token)).user_id

    monkeypatch.setattr("time.time", lambda: now + 61)
    with pytest.raises(TokenInvalid, match="its key has expired"):
        await verifier.verify(token)


async def test_an_odd_key_in_the_file_does_not_harm_the_others(keys: Keys) -> None:
    change_keys(keys, "person-1", key_ops=5)

    verifier = Verifier.from_file(keys.jwks_file, ISSUER)

    assert (await verifier.verify(keys.signer("runs").token())).workload == "runs"


def test_background_work_acts_as_somebody(keys: Keys) -> None:
    with pytest.raises(TokenMissing):
        current_principal()
    with acting_as(workload_principal("runs")):
        assert current_principal().user_id == "workload:runs"
