"""`nagaya whoami`: what the token says, and whether it is accepted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import grpc
import jwt
import pytest
from tests.unit.client.api import Refusal

from nagaya.tenant.v1 import tenant_service_pb2
from nagaya_client.cli.main import run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.client.api import Api

CLAIMS = {
    "iss": "https://login.example.com",
    "sub": "ada",
    "name": "Ada Lovelace",
    "tenants": ["acme", "globex"],
    "exp": 4938000000,
    "resource_access": {"nagaya": {"roles": ["runs.*"]}},
}


@pytest.fixture
def token(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = here / "token.jwt"
    file.write_text(jwt.encode(CLAIMS, "k" * 32))
    monkeypatch.delenv("NAGAYA_TOKEN")
    monkeypatch.setenv("NAGAYA_TOKEN_FILE", str(file))
    return file


def shown(out: str) -> dict[str, str]:
    return dict(line.split(maxsplit=1) for line in out.splitlines())


def test_whoami_says_in_plain_words_who_somebody_is(
    api: Api, token: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.on("ListTenants", tenant_service_pb2.ListTenantsResponse())

    assert run(["whoami"]) == 0
    said = shown(capsys.readouterr().out)
    assert said.pop("expires").startswith("2126-")
    assert said == {
        "name": "Ada Lovelace (ada)",
        "tenants": "acme globex",
        "permissions": "runs.*",
        "issuer": "https://login.example.com",
        "accepted": "yes",
        "token": str(token),
    }


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"name": None}, {"name": "ada"}),
        ({"name": None, "email": "ada@x"}, {"name": "ada@x (ada)"}),
        ({"tenants": ["*"], "scope": "*"}, {"tenants": "all", "permissions": "all"}),
        ({"scope": "runs.* runs.read"}, {"permissions": "runs.* runs.read"}),
        ({"scp": ["a"], "roles": ["b", "a"]}, {"permissions": "a b runs.*"}),
        (
            {"tenants": None, "https://x.example/tenants": ["acme"]},
            {"tenants": "acme"},
        ),
        ({"tenants": None}, {"tenants": "in no claim of the usual names: --claims shows all"}),
        ({"exp": 1}, {"expires": "it has expired"}),
        ({"exp": None}, {"expires": "never, so no service accepts it"}),
        ({"resource_access": {"nagaya": 3, "x": {"roles": 7}}}, {"permissions": "in no claim"}),
    ],
)
def test_claims_of_the_usual_names_are_read(
    api: Api,
    token: Path,
    capsys: pytest.CaptureFixture[str],
    claims: dict[str, object],
    expected: dict[str, str],
) -> None:
    api.on("ListTenants", tenant_service_pb2.ListTenantsResponse())
    payload = {name: value for name, value in (CLAIMS | claims).items() if value is not None}
    token.write_text(jwt.encode(payload, "k" * 32))

    assert run(["whoami"]) == 0
    said = shown(capsys.readouterr().out)
    assert [text in said[name] for name, text in expected.items()] == [True] * len(expected)


@pytest.mark.usefixtures("token")
def test_every_claim_is_shown_to_whom_asks_for_it(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    api.on("ListTenants", tenant_service_pb2.ListTenantsResponse())

    assert run(["whoami", "--claims"]) == 0
    said = shown(capsys.readouterr().out)
    assert said["resource_access"] == '{"nagaya": {"roles": ["runs.*"]}}'
    assert list(said) == list(CLAIMS)

    assert run(["whoami", "--claims", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["sub"] == "ada"


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize(
    ("code", "expected", "accepted"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, 0, "yes"),
        (grpc.StatusCode.UNAUTHENTICATED, 4, "no"),
        (grpc.StatusCode.INTERNAL, 1, "not known: the service did not say"),
    ],
)
def test_only_a_token_that_is_not_accepted_is_an_error(
    api: Api,
    code: grpc.StatusCode,
    expected: int,
    accepted: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    api.on("ListTenants", Refusal(code, "the token has another audience"))

    assert run(["whoami"]) == expected
    printed = capsys.readouterr()
    said = shown(printed.out)
    assert (said["name"], said["accepted"]) == ("Ada Lovelace (ada)", accepted)
    assert ("another audience" in printed.err) == (expected != 0)


def test_the_token_itself_is_for_other_programs(
    api: Api, token: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["whoami", "--raw"]) == 0
    assert capsys.readouterr().out == f"{token.read_text()}\n"
    assert api.calls == []


@pytest.mark.usefixtures("here")
def test_what_is_no_token_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["whoami"]) == 2
    assert "your token is no JWT" in capsys.readouterr().err
