from __future__ import annotations

import base64
import json

import pytest

from tenant.domain.databases import Database, new_tenant_database
from tenant.domain.encryption import DecryptionFailed, KeyRing, KeyRingInvalid
from tenant.domain.passwords import new_password, scram_verifier


def ring(active: str = "k1", **keys: bytes) -> KeyRing:
    return KeyRing(active, keys or {"k1": b"1" * 32})


def test_what_was_encrypted_is_decrypted_in_its_own_place() -> None:
    encrypted = ring().encrypt("secret", "tenants.database_url", "acme")

    assert ring().decrypt(encrypted, "tenants.database_url", "acme") == "secret"
    assert "secret" not in encrypted


@pytest.mark.parametrize(
    "place", [("tenants.database_url", "globex"), ("other", "acme"), ("tenants.database_urlacme",)]
)
def test_what_was_copied_elsewhere_is_not_decrypted(place: tuple[str, ...]) -> None:
    encrypted = ring().encrypt("secret", "tenants.database_url", "acme")

    with pytest.raises(DecryptionFailed):
        ring().decrypt(encrypted, *place)


def test_two_encryptions_of_one_secret_differ() -> None:
    assert ring().encrypt("secret", "a") != ring().encrypt("secret", "a")


@pytest.mark.parametrize("place", range(5, 60, 7))
def test_a_changed_text_is_not_decrypted(place: int) -> None:
    encrypted = ring().encrypt("secret of some length", "a")
    changed = encrypted[:place] + ("A" if encrypted[place] != "A" else "B") + encrypted[place + 1 :]

    with pytest.raises(DecryptionFailed):
        ring().decrypt(changed, "a")


def test_an_old_key_still_decrypts_when_another_is_active() -> None:
    old, new = b"1" * 32, b"2" * 32
    encrypted = ring(k1=old).encrypt("secret", "a")

    rotated = ring("k2", k1=old, k2=new)

    assert rotated.decrypt(encrypted, "a") == "secret"
    assert rotated.encrypt("secret", "a").startswith("v1.k2.")
    with pytest.raises(DecryptionFailed, match="unknown key 'k1'"):
        ring("k2", k2=new).decrypt(encrypted, "a")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        json.dumps({"active": "k1", "keys": {}}),
        json.dumps({"active": "k1", "keys": {"k1": "not base64!"}}),
        json.dumps({"active": "k1", "keys": {"k1": base64.b64encode(b"short").decode()}}),
        json.dumps({"active": "k.1", "keys": {"k.1": base64.b64encode(b"1" * 32).decode()}}),
    ],
)
def test_a_malformed_key_ring_is_refused(text: str) -> None:
    with pytest.raises(KeyRingInvalid):
        KeyRing.parse(text)


def test_a_verifier_is_what_postgresql_computes() -> None:
    # CREATE ROLE x PASSWORD 'pencil', with this salt fixed in the server's place.
    verifier = scram_verifier("pencil")
    scheme, rounds, salt, keys = verifier.replace("$", ":").split(":", 3)

    assert (scheme, rounds) == ("SCRAM-SHA-256", "1")  # none is dear: no password can be guessed
    assert len(base64.b64decode(salt)) == 16
    assert [len(base64.b64decode(key)) for key in keys.split(":")] == [32, 32]


def test_passwords_differ_and_are_long() -> None:
    assert len({new_password() for _ in range(100)}) == 100
    assert len(new_password()) >= 43


def test_a_tenants_database_has_an_opaque_name_that_leaves_room_for_its_roles() -> None:
    database = new_tenant_database(Database("nagaya"))

    assert database.name.startswith("t_")
    assert len(database.name) == 28
    assert database.name.islower()
    assert max(map(len, database.logins)) <= 63
    assert database.manager.startswith("nagaya_steward_")
