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
    "tenants": ["acme", "globex"],
    "exp": 1795000000,
    "resource_access": {"nagaya": {"roles": ["runs.*"]}},
}


@pytest.fixture
def token(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = here / "token.jwt"
    file.write_text(jwt.encode(CLAIMS, "k" * 32))
    monkeypatch.delenv("NAGAYA_TOKEN")
    monkeypatch.setenv("NAGAYA_TOKEN_FILE", str(file))
    return file


def test_every_claim_is_shown_and_where_the_token_is_from(
    api: Api, token: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.on("ListTenants", tenant_service_pb2.ListTenantsResponse())

    assert run(["whoami"]) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert lines[:4] == [
        ["token", str(token)],
        ["iss", "https://login.example.com"],
        ["sub", "ada"],
        ["tenants", "acme globex"],
    ]
    assert lines[4][1].startswith("2026-11-1")
    assert lines[5] == ["resource_access", '{"nagaya": {"roles": ["runs.*"]}}']

    assert run(["whoami", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["sub"] == "ada"


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize(
    ("code", "expected"),
    [(grpc.StatusCode.PERMISSION_DENIED, 0), (grpc.StatusCode.UNAUTHENTICATED, 4)],
)
def test_only_a_token_that_is_not_accepted_is_an_error(
    api: Api, code: grpc.StatusCode, expected: int, capsys: pytest.CaptureFixture[str]
) -> None:
    api.on("ListTenants", Refusal(code, "the token has another audience"))

    assert run(["whoami"]) == expected
    printed = capsys.readouterr()
    assert "ada" in printed.out
    assert ("another audience" in printed.err) == (expected == 4)


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
