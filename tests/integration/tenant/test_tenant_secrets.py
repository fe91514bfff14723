"""Secrets that services keep for tenants: made once, encrypted, gone with the tenant."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from nagaya.tenant.v1 import secret_service_pb2 as pb
from nagaya.tenant.v1 import secret_service_pb2_grpc
from servicekit.call import on_behalf_of
from servicekit.errors import DomainError, NotFound
from tenant.store import encrypted_columns, tenants

if TYPE_CHECKING:
    from collections.abc import Iterator

    import asyncpg

    from interceptor.testing import RunningServer
    from tenant.composition import Composition

NAME = "webhook/one/1"


@pytest.fixture(autouse=True)
def for_acme() -> Iterator[None]:
    with on_behalf_of("acme"):
        yield


def stub(server: RunningServer, workload: str) -> secret_service_pb2_grpc.SecretServiceStub:
    return secret_service_pb2_grpc.SecretServiceStub(server.workload_channel(workload))


async def ensured(server: RunningServer, name: str = NAME) -> str:
    request = pb.EnsureTenantSecretRequest(tenant_id="acme", name=name)
    return (await stub(server, "runs").EnsureTenantSecret(request)).secret


async def test_a_secret_is_made_once_and_encrypted(
    service: Composition, server: RunningServer, management: asyncpg.Connection
) -> None:
    await service.tenants.create("acme", "r1", "Acme")

    secret = await ensured(server)

    assert len(base64.b64decode(secret)) == 32
    assert await ensured(server) == secret != await ensured(server, "webhook/two/1")
    sealed = await management.fetchval("SELECT sealed FROM tenant_secrets WHERE name = $1", NAME)
    assert secret not in sealed
    assert sealed.startswith("v1.k1.")
    before = (await encrypted_columns.counts(management))["k1"]
    request = pb.DeleteTenantSecretRequest(tenant_id="acme", name=NAME)
    for _ in range(2):
        await stub(server, "runs").DeleteTenantSecret(request)
    assert (await encrypted_columns.counts(management))["k1"] == before - 1
    assert await ensured(server) != secret


async def test_a_secret_is_of_a_tenant_that_there_is(server: RunningServer) -> None:
    with pytest.raises(NotFound):
        await ensured(server)


async def test_only_who_keeps_secrets_may_ask(service: Composition, server: RunningServer) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    request = pb.EnsureTenantSecretRequest(tenant_id="acme", name=NAME)
    person = secret_service_pb2_grpc.SecretServiceStub(server.channel(tenants=["acme"]))

    for one in (stub(server, "artifacts"), person):
        with pytest.raises(DomainError) as refusal:
            await one.EnsureTenantSecret(request)
        assert refusal.value.reason == "ERROR_REASON_PERMISSION_DENIED"


async def test_a_tenants_secrets_go_with_it(
    service: Composition, server: RunningServer, management: asyncpg.Connection
) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    await ensured(server)

    await tenants.delete(management, "acme")

    assert await management.fetchval("SELECT count(*) FROM tenant_secrets") == 0
