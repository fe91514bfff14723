"""`nagaya keys`: what it writes, and what services take of it."""

from __future__ import annotations

import asyncio
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from authentication.verifier import Verifier
from nagaya_client.cli.main import run
from servicekit.errors import TokenInvalid
from servicekit.identity import WorkloadSigner
from signing import DocumentSigner, PublicKeys
from tenant.domain.encryption import parse_keys

if TYPE_CHECKING:
    from servicekit.identity import Principal


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def keys(words: str) -> int:
    return run(["keys", *shlex.split(words)])


def verified(token: str) -> Principal:
    return asyncio.run(Verifier.from_file("jwks.json", "me").verify(token))


def test_a_workload_s_key_is_private_and_its_public_half_is_added(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("tenant", "runs"):
        assert keys(f"new-workload {name} --jwks jwks.json") == 0

    assert Path("runs.pem").stat().st_mode & 0o777 == 0o600
    assert [jwk["kid"] for jwk in json.loads(Path("jwks.json").read_text())["keys"]] == [
        "workload-tenant",
        "workload-runs",
    ]
    assert "PRIVATE" not in Path("jwks.json").read_text()
    assert capsys.readouterr().out.endswith(
        "runs.pem has the private key, jwks.json its public half under workload-runs\n"
    )
    runs = verified(WorkloadSigner.from_file("runs", "runs.pem").token("acme", "ada"))
    assert (runs.workload, runs.user_id) == ("runs", "ada")


def test_without_a_jwks_the_public_half_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert keys("new-workload artifacts --to a.pem") == 0

    Path("jwks.json").write_text(json.dumps({"keys": [json.loads(capsys.readouterr().out)]}))
    assert verified(WorkloadSigner.from_file("artifacts", "a.pem").token()).workload


def test_a_key_takes_over_from_another_while_both_sign() -> None:
    keys("new-workload tenant --jwks jwks.json")
    old = WorkloadSigner.from_file("tenant", "tenant.pem")
    document = DocumentSigner.from_file("workload-tenant", "tenant.pem").sign({"type": "t"})

    assert keys("new-workload tenant --to new.pem --jwks jwks.json") == 0
    new = WorkloadSigner.from_file("tenant", "new.pem")
    for signer in (old, new):
        assert verified(signer.token("acme")).workload == "tenant"

    assert keys("retire workload-tenant --keep new.pem --jwks jwks.json") == 0
    assert verified(new.token("acme")).workload == "tenant"
    with pytest.raises(TokenInvalid, match="signature verification failed"):
        verified(old.token("acme"))
    public = PublicKeys.from_jwks(Path("jwks.json").read_bytes())
    assert public.verify(document, "t", "workload-tenant") == {"type": "t"}


def test_no_workload_is_left_without_a_key_that_counts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    keys("new-workload tenant --jwks jwks.json")
    keys("new-workload tenant --to new.pem --jwks jwks.json")
    keys("retire workload-tenant --keep new.pem --jwks jwks.json")
    published = Path("jwks.json").read_bytes()

    assert keys("retire workload-tenant --keep tenant.pem --jwks jwks.json") != 0

    assert "tenant.pem expire" in capsys.readouterr().err
    assert Path("jwks.json").read_bytes() == published


def test_the_first_operator_gets_in_without_a_provider(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert keys("new-issuer --jwks jwks.json") == 0
    capsys.readouterr()
    assert keys("sign-token --issuer me --user grace --tenant '*' --permission '*'") == 0

    grace = verified(capsys.readouterr().out.strip())
    assert grace.user_id == "grace"
    assert grace.everywhere
    assert grace.may("tenants.write")


def test_a_key_ring_is_one_that_the_tenant_service_takes() -> None:
    assert keys("new-ring keyring.json") == 0

    active, ring = parse_keys(Path("keyring.json").read_text())
    assert list(ring) == [active]
    assert Path("keyring.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("new-workload runs", "runs.pem exists already"),
        ("new-workload tenant --jwks bad.json", "bad.json is no JWKS"),
        ("new-ring runs.pem", "runs.pem exists already"),
        ("retire workload-runs --keep runs.pem --jwks jwks.json", "has no key workload-runs that"),
        ("retire workload-runs --keep bad.json --jwks jwks.json", "holds no Ed25519 or P-256"),
        ("new-issuer --kid workload-runs --jwks jwks.json", "services' keys"),
        ("new-workload operator", "is not one of"),
    ],
)
def test_what_would_lose_or_mix_up_keys_is_refused_and_changes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    keys("new-workload runs")
    keys("new-workload artifacts --jwks jwks.json")
    Path("bad.json").write_text("{}")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    capsys.readouterr()

    assert keys(words) != 0

    assert message in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
