"""The clone's keys and tokens, as the services' own verifier takes them."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import jwt
import pytest

from authentication.verifier import Verifier
from nagaya_local.clone.choices import Choices
from nagaya_local.clone.keys import ISSUER, WORKLOADS, Keys
from nagaya_local.clone.layout import Layout
from nagaya_local.clone.providers import keys_file, read_providers, write_providers
from nagaya_local.clone.tokens import issue_operator_token, issue_tenant_token, renew_tokens
from nagaya_local.commands.tenants import issue_known_tenant_token
from nagaya_local.errors import LocalError, PreflightFailed, StackDown
from servicekit.errors import TokenInvalid
from servicekit.identity import WorkloadSigner

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    Keys(layout.keys).make()
    return layout


@pytest.fixture
def verifier(layout: Layout) -> Verifier:
    return Verifier.from_file(Keys(layout.keys).jwks, ISSUER)


async def test_the_operator_may_do_everything_for_everyone(
    layout: Layout, verifier: Verifier
) -> None:
    operator = await verifier.verify(issue_operator_token(layout).read_text().strip())

    assert operator.may("tenants.write")
    assert operator.covers("acme")


async def test_a_person_of_a_tenant_may_work_in_it_and_nowhere_else(
    layout: Layout, verifier: Verifier
) -> None:
    person = await verifier.verify(issue_tenant_token(layout, "acme").read_text().strip())

    assert person.may("runs.write")
    assert not person.may("tenants.write")
    assert not person.may("catalog.write")
    assert (person.covers("acme"), person.covers("globex")) == (True, False)


@pytest.mark.parametrize("name", WORKLOADS)
async def test_a_workload_signs_as_itself_and_as_no_other(
    layout: Layout, verifier: Verifier, name: str
) -> None:
    key = Keys(layout.keys).workload(name)
    assert (
        await verifier.verify(WorkloadSigner.from_file(name, key).token("acme"))
    ).workload == name

    other = next(workload for workload in WORKLOADS if workload != name)
    with pytest.raises(TokenInvalid):
        await verifier.verify(WorkloadSigner.from_file(other, key).token("acme"))


async def test_keys_stay_and_tokens_are_renewed(layout: Layout, verifier: Verifier) -> None:
    path = issue_tenant_token(layout, "acme")
    path.write_text("an old token")
    Keys(layout.keys).make()
    renew_tokens(layout)

    assert (await verifier.verify(path.read_text().strip())).covers("acme")
    lifetime = jwt.decode(path.read_text().strip(), options={"verify_signature": False})
    assert lifetime["exp"] - lifetime["iat"] == 30 * 24 * 3600


@pytest.mark.parametrize("tenant_id", ["../keys/issuer", "operator", "", "Acme"])
def test_a_token_file_lies_where_tokens_lie(layout: Layout, tenant_id: str) -> None:
    with pytest.raises(LocalError):
        issue_tenant_token(layout, tenant_id)


async def test_while_the_stack_is_down_no_token_is_issued_for_who_may_not_exist(
    layout: Layout,
) -> None:
    with pytest.raises(StackDown, match="nobody can say whether there is a tenant acme") as down:
        await issue_known_tenant_token(layout, "acme")

    assert down.value.exit_code == 6
    assert "nagaya dev up" in down.value.remedy
    assert not layout.tokens.exists()


async def test_a_token_that_there_is_can_be_renewed_while_the_stack_is_down(
    layout: Layout, verifier: Verifier
) -> None:
    path = issue_tenant_token(layout, "acme")
    path.write_text("a token of last year")

    assert await issue_known_tenant_token(layout, "acme") == path
    assert (await verifier.verify(path.read_text().strip())).covers("acme")


def test_a_file_among_the_tokens_that_is_nobodys_stays_as_it_is(layout: Layout) -> None:
    issue_operator_token(layout)
    stray = layout.tokens / "My notes.jwt"
    stray.write_text("not ours")
    renew_tokens(layout)

    assert stray.read_text() == "not ours"


def test_the_sealing_key_has_32_bytes(layout: Layout) -> None:
    ring = json.loads(Keys(layout.keys).keyring.read_text())

    assert len(base64.b64decode(ring["keys"][ring["active"]])) == 32


def test_a_provider_key_makes_that_provider_real_and_no_other(layout: Layout) -> None:
    chosen = Choices.read({"OPENAI_API_KEY": "sk-real"}, {})
    write_providers(layout, "http://127.0.0.1:1", chosen.provider_keys)

    places = {provider.id: provider.api_base_url for provider in read_providers(layout)}
    assert places == {"claude": "http://127.0.0.1:1", "openai": "", "gemini": "http://127.0.0.1:1"}
    assert json.loads(keys_file(layout).read_text())["openai"] == "sk-real"


def test_an_s3_server_without_its_keys_is_refused() -> None:
    with pytest.raises(PreflightFailed, match="without S3_SECRET_KEY"):
        Choices.read({"S3_ENDPOINT": "http://s3:9000", "S3_ACCESS_KEY": "key"}, {})
