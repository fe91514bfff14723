"""A stack in which every connection is by TLS, those to PostgreSQL, S3 and Temporal too.

People have tokens of an OpenID Connect provider. One run goes through all of it; whoever is not
right is refused.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import jwt
import pytest
from tests.support.certificates import LOOPBACK, CertificateFiles
from tests.support.people import People, running_people
from tests.support.public_api import (
    create_pipeline,
    create_prompt,
    create_run,
    create_tenant,
    finish,
    list_steps,
)
from tests.support.stack import LocalStack, running_stack
from tests.support.tls_proxy import TlsProxy

from nagaya.runs.v1 import run_pb2
from nagaya.tenant.v1 import tenant_service_pb2
from nagaya_client.client import Client
from nagaya_client.errors import ApiError
from nagaya_client.settings import Settings, local_stack_settings
from nagaya_client.tokens import Token
from nagaya_local.clone.certificates import TRUST_DOMAIN
from nagaya_local.clone.keys import ISSUER, ISSUER_KID, Keys
from nagaya_local.errors import NotReady
from nagaya_local.parts.external import probe_postgres
from tls.authority import CertificateAuthority
from tls.files import KeyPair
from tls.spiffe import spiffe_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nagaya_local.parts.postgres import PostgresServer
    from nagaya_local.parts.s3 import S3Server
    from nagaya_local.parts.temporal import TemporalServer

SPEC = {
    "steps": [
        {
            "step": "draft",
            "needs": ["input"],
            "llm": {
                "model": {"modelId": "claude-sonnet-5-5"},
                "maxOutputTokens": 50,
                "bindings": [{"variable": "text", "output": {"step": "input"}}],
            },
        },
        {"step": "kept", "needs": ["draft"], "function": {"function": "collect"}},
    ]
}


@dataclass(frozen=True)
class TlsStack:
    """The stack, the proxies in front of what it is given, their authority, and its people."""

    stack: LocalStack
    files: CertificateFiles
    proxies: dict[str, TlsProxy]
    people: People

    def settings(self, *, direct: bool = False) -> Settings:
        """Return the operator's settings, through Envoy, or of the services themselves."""
        settings = local_stack_settings(self.stack.layout.root)
        if not direct:
            return settings
        addresses = {
            name: str(self.stack.address(name, direct=True)) for name in ("tenant", "runs")
        }
        return replace(settings, addresses=addresses)

    def with_token(self, token: str) -> Settings:
        """Return the settings of who calls through Envoy with this token."""
        settings = self.settings()
        return replace(settings, token=Token(token))


@pytest.fixture(scope="module")
def tls_stack(
    tmp_path_factory: pytest.TempPathFactory,
    postgres: PostgresServer,
    s3: S3Server,
    temporal: TemporalServer,
) -> Iterator[TlsStack]:
    folder = tmp_path_factory.mktemp("tls")
    files = CertificateFiles(folder / "given", "given")
    own = files.issue("proxy", *LOOPBACK)
    url = asyncio.run(postgres.create_management_database(f"nagaya_{secrets.token_hex(4)}"))
    with (
        running_people(folder / "people") as people,
        TlsProxy(postgres.port, own, postgres=True).running() as database,
        TlsProxy(int(s3.endpoint.rpartition(":")[2]), own).running() as store,
        TlsProxy(
            int(temporal.address.rpartition(":")[2]), own, protocols=("h2",)
        ).running() as workflows,
        running_stack(
            tmp_path_factory.mktemp("stack"),
            NAGAYA_DEV_TLS="true",
            NAGAYA_PG_URL=url.replace(f":{postgres.port}/", f":{database.port}/"),
            PGSSLMODE="verify-full",
            PGSSLROOTCERT=str(files.ca_file),
            S3_ENDPOINT=f"https://127.0.0.1:{store.port}",
            S3_ACCESS_KEY=s3.keys.access_key,
            S3_SECRET_KEY=s3.keys.secret_key,
            SSL_CERT_FILE=str(files.ca_file),
            TEMPORAL_ADDRESS=f"https://127.0.0.1:{workflows.port}",
            TEMPORAL_TLS_SERVER_CA_CERT_PATH=str(files.ca_file),
            **people.environment,
        ) as stack,
    ):
        proxies = {"postgres": database, "s3": store, "temporal": workflows}
        yield TlsStack(stack, files, proxies, people)


async def test_a_run_goes_through_with_every_connection_by_tls(
    tls_stack: TlsStack, tmp_path: Path
) -> None:
    async with tls_stack.stack.client() as client:
        tenant_id = await create_tenant(client, "tls")
        await create_prompt(client, tenant_id, "draft", "Write about {{text}}.")
        await create_pipeline(client, tenant_id, "short", SPEC)
        run_id = await create_run(client, tenant_id, "short", {"topic": "heat pumps"})
        run = await finish(client, tenant_id, run_id)
        steps = await list_steps(client, tenant_id, run_id)
        await client.download(tenant_id, steps[-1].output.output_path, tmp_path / "output.json")

    assert run.state == run_pb2.RUN_STATE_COMPLETED, run.error
    assert json.loads((tmp_path / "output.json").read_text())
    assert {name for name, proxy in tls_stack.proxies.items() if proxy.connections} == {
        "postgres",
        "s3",
        "temporal",
    }


async def _error(settings: Settings) -> ApiError:
    async with Client.connect(settings) as client:
        with pytest.raises(ApiError) as refused:
            await client.tenants.ListTenants(tenant_service_pb2.ListTenantsRequest(page_size=1))
    return refused.value


async def _refused(settings: Settings) -> str:
    return (await _error(settings)).message


def _plaintext(settings: Settings) -> Settings:
    addresses = {name: text.removeprefix("https://") for name, text in settings.addresses.items()}
    return replace(settings, addresses=addresses)


@pytest.mark.parametrize("direct", [False, True], ids=["through Envoy", "directly"])
async def test_a_call_in_plaintext_is_refused_and_why_is_reported(
    tls_stack: TlsStack, *, direct: bool
) -> None:
    message = await _refused(_plaintext(tls_stack.settings(direct=direct)))

    assert message.endswith("if it speaks TLS, its address begins with https://")


@pytest.mark.parametrize("direct", [False, True], ids=["through Envoy", "directly"])
async def test_who_trusts_another_authority_does_not_call(
    tls_stack: TlsStack, *, direct: bool
) -> None:
    settings = replace(tls_stack.settings(direct=direct), ca_file=tls_stack.files.ca_file)
    message = await _refused(settings)

    assert "NAGAYA_CA_FILE names those that are" in message


async def test_a_service_is_reached_with_a_certificate_only(tls_stack: TlsStack) -> None:
    settings = tls_stack.settings(direct=True)
    without = await _refused(settings)
    foreign = replace(settings, certificate=tls_stack.files.issue("foreign"))
    of_another = await _refused(foreign)

    assert "NAGAYA_TLS_CERT_FILE and NAGAYA_TLS_KEY_FILE name one" in without
    assert "of an authority that it does not trust" in of_another
    assert tls_stack.stack.tls is not None
    async with Client.connect(replace(settings, certificate=tls_stack.stack.tls.own)) as client:
        await client.tenants.ListTenants(tenant_service_pb2.ListTenantsRequest(page_size=1))


async def test_a_workload_with_a_certificate_of_another_name_is_refused(
    tls_stack: TlsStack, tmp_path: Path
) -> None:
    keys = tls_stack.stack.layout.keys
    authority = CertificateAuthority.load(
        (keys / "ca.pem").read_bytes(), (keys / "ca-key.pem").read_bytes()
    )
    issued = authority.issue([], uri=spiffe_id(TRUST_DOMAIN, "billing"))
    pair = KeyPair(tmp_path / "billing.pem", tmp_path / "billing-key.pem")
    pair.cert_file.write_bytes(issued.certificate)
    pair.key_file.write_bytes(issued.key)
    settings = replace(tls_stack.settings(direct=True), certificate=pair)
    # Its token would be good, if it came over a connection of its own.
    token = _signed_by(tls_stack, "artifacts")
    message = await _refused(replace(settings, token=tls_stack.with_token(token).token))

    assert message.startswith(
        "the token is of the service artifacts, and the certificate of the connection of billing"
    )


def _signed_by(tls_stack: TlsStack, workload: str) -> str:
    from servicekit.identity import WorkloadSigner  # noqa: PLC0415

    key_file = tls_stack.stack.layout.keys / f"{workload}.pem"
    return WorkloadSigner.from_file(workload, key_file).token()


@pytest.mark.parametrize(
    ("login", "asked", "why"),
    [
        ("late@acme", {}, "signature has expired"),
        ("operator", {"resource": "https://billing.example"}, "audience doesn't match"),
    ],
    ids=["has expired", "is for another audience"],
)
async def test_a_token_of_the_provider_that_does_not_count_is_refused(
    tls_stack: TlsStack, login: str, asked: dict[str, str], why: str
) -> None:
    token = await tls_stack.people.token(login, "tenants.read", **asked)
    refused = await _error(tls_stack.with_token(token))

    assert (refused.code.name, refused.reason) == ("UNAUTHENTICATED", "ERROR_REASON_TOKEN_INVALID")
    assert why in refused.message


async def test_where_a_provider_issues_tokens_the_clones_own_are_refused(
    tls_stack: TlsStack,
) -> None:
    claims = {
        "iss": ISSUER,
        "aud": "nagaya",
        "sub": "operator",
        "exp": 4_000_000_000,
        "scope": "*",
        "tenants": ["*"],
    }
    key = Keys(tls_stack.stack.layout.keys).issuer_key()
    token = jwt.encode(claims, key, algorithm="ES256", headers={"kid": ISSUER_KID})
    refused = await _error(tls_stack.with_token(token))

    assert refused.reason == "ERROR_REASON_TOKEN_INVALID"
    assert "its issuer (iss) is not one that is configured" in refused.message


def test_a_client_of_another_make_verifies_the_servers_too(tls_stack: TlsStack) -> None:
    ca_file, url = tls_stack.stack.endpoints.ca_file, tls_stack.stack.endpoints.runs
    trusting = _buf_curl("--cacert", ca_file, f"{url}/grpc.health.v1.Health/Check")
    distrusting = _buf_curl(f"{url}/grpc.health.v1.Health/Check")

    assert json.loads(trusting.stdout) == {"status": "SERVING"}
    assert distrusting.returncode != 0
    assert "SERVING" not in distrusting.stdout


def _buf_curl(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("buf"), "curl", "--protocol", "grpc", "--data", "{}"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)


async def test_a_database_whose_certificate_is_another_s_is_not_used(
    tls_stack: TlsStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    monkeypatch.setenv("PGSSLROOTCERT", tls_stack.stack.endpoints.ca_file)
    with pytest.raises(NotReady, match="unable to get local issuer certificate"):
        await probe_postgres(tls_stack.stack.endpoints.pg_url)
