"""Calls carry who calls, end in time, are repeated where that is harmless, and raise ApiError."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
from dataclasses import replace
from typing import TYPE_CHECKING

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.unit.client.api import REQUEST_ID, Api, Refusal

from nagaya.llm_gateway.v1 import generation_service_pb2
from nagaya.runs.v1 import run_service_pb2
from nagaya.tenant.v1 import tenant_pb2, tenant_service_pb2
from nagaya_client.client import Client
from nagaya_client.errors import ApiError, SettingsInvalid, Violation
from nagaya_client.paging import pages
from nagaya_client.settings import SERVICES, Settings
from nagaya_client.tokens import Token

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.client.api import RecordedCall

GET = tenant_service_pb2.GetTenantRequest(tenant_id="acme")
GOT = tenant_service_pb2.GetTenantResponse(tenant=tenant_pb2.Tenant(tenant_id="acme"))
BROKEN = Refusal(grpc.StatusCode.UNAVAILABLE, "", reason="")


async def test_a_call_carries_token_request_id_and_the_contracts_deadline(
    api: Api, client: Client
) -> None:
    api.on("GetTenant", GOT)
    api.on("CreateTenant", tenant_service_pb2.CreateTenantResponse())

    own = (("traceparent", "00-1-2-3"),)
    assert await client.tenants.GetTenant(GET, metadata=own) == GOT
    await client.tenants.CreateTenant(tenant_service_pb2.CreateTenantRequest(tenant_id="acme"))

    get, create = api.calls
    assert get.metadata["traceparent"] == "00-1-2-3"
    assert get.metadata["authorization"] == "Bearer token-of-ada"
    assert get.metadata["x-request-id"] != create.metadata["x-request-id"]
    assert 29 < get.seconds <= 30.1  # gRPC rounds it up to 100 ms on the wire
    assert 119 < create.seconds <= 121  # gRPC rounds long ones up to a second


async def test_a_token_file_is_read_anew_for_every_call(
    api: Api, settings: Settings, tmp_path: Path
) -> None:
    api.on("GetTenant", GOT)
    file = tmp_path / "token"
    async with Client.connect(replace(settings, token=Token(file=file))) as client:
        for token in ("first", "second"):
            file.write_text(f"{token}\n")
            await client.tenants.GetTenant(GET)
        file.unlink()
        with pytest.raises(SettingsInvalid):
            await client.tenants.GetTenant(GET)
    sent = [call.metadata["authorization"] for call in api.calls]
    assert sent == ["Bearer first", "Bearer second"]


async def test_a_refusal_is_typed(api: Api, client: Client) -> None:
    api.on(
        "GetTenant",
        Refusal(
            grpc.StatusCode.INVALID_ARGUMENT,
            "it is wrong. Put it right.",
            "ERROR_REASON_REQUEST_INVALID",
            {"tenant_id": "A"},
            (("tenant_id", "too short"),),
            retry_after_ms=1_500,
        ),
    )

    with pytest.raises(ApiError) as refused:
        await client.tenants.GetTenant(GET)

    error = refused.value
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert error.reason == "ERROR_REASON_REQUEST_INVALID"
    assert error.message == "it is wrong. Put it right."
    assert error.metadata == {"tenant_id": "A"}
    assert error.violations == (Violation("tenant_id", "too short"),)
    assert error.request_id == REQUEST_ID
    assert error.retry_after == 1.5
    assert str(error) == "INVALID_ARGUMENT ERROR_REASON_REQUEST_INVALID: it is wrong. Put it right."


async def test_a_stream_raises_the_same(api: Api, client: Client) -> None:
    api.on("StreamGenerate", Refusal(grpc.StatusCode.FAILED_PRECONDITION, "no", "ERROR_REASON_X"))
    request = generation_service_pb2.StreamGenerateRequest(tenant_id="acme")
    stream = aiter(client.generations.StreamGenerate(request))
    with pytest.raises(ApiError) as refused:
        await anext(stream)
    assert refused.value.reason == "ERROR_REASON_X"


async def test_an_unreachable_server_is_named_by_its_address(api: Api, client: Client) -> None:
    api.stop()
    with pytest.raises(ApiError, match=api.address) as refused:
        await client.tenants.GetTenant(GET)
    assert refused.value.transient
    assert refused.value.request_id


async def test_an_own_limit_is_shorter_than_the_contracts(api: Api, settings: Settings) -> None:
    api.on("GetTenant", lambda _: asyncio.Event().wait())
    async with Client.connect(replace(settings, timeout_seconds=0.2)) as client:
        with pytest.raises(ApiError) as refused:
            await client.tenants.GetTenant(GET)
    assert refused.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_pages_are_followed_to_the_end(api: Api, client: Client) -> None:
    def page(call: RecordedCall) -> run_service_pb2.ListRunsResponse:
        number = int(call.request.page_token or 0)
        token = str(number + 1) if number < 2 else ""
        return run_service_pb2.ListRunsResponse(next_page_token=token)

    api.on("ListRuns", page)
    request = run_service_pb2.ListRunsRequest(tenant_id="acme", page_size=7)
    found = [found async for found in pages(client.runs.ListRuns, request)]
    assert len(found) == 3
    assert [call.request.page_token for call in api.calls] == ["", "1", "2"]
    assert {call.request.page_size for call in api.calls} == {7}


@pytest.mark.parametrize("form", ["https://{}", "dns+https:///{}"])
async def test_an_https_address_is_spoken_to_with_tls(tmp_path: Path, form: str) -> None:
    key, certificate = self_signed()
    (tmp_path / "ca.pem").write_bytes(certificate)
    api = Api()
    api.start(grpc.ssl_server_credentials([(key, certificate)]))
    api.on("GetTenant", GOT)
    api.on("Watch", Refusal(grpc.StatusCode.UNIMPLEMENTED))  # of health: it is taken as healthy
    settings = Settings(
        dict.fromkeys(SERVICES, form.format(api.address)), Token("t"), ca_file=tmp_path / "ca.pem"
    )
    try:
        async with Client.connect(settings) as client:
            assert await client.tenants.GetTenant(GET) == GOT
        async with Client.connect(replace(settings, ca_file=None)) as client:
            with pytest.raises(ApiError):
                await client.tenants.GetTenant(GET)
    finally:
        api.close()


async def test_calls_that_new_certificates_cut_off_are_transient_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tls.credentials._RECHECK_SECONDS", 0.0)
    monkeypatch.setattr("tls.credentials._OLD_CALLS_SECONDS", 0.1)
    key, certificate = self_signed()
    authorities = tmp_path / "ca.pem"
    authorities.write_bytes(certificate)
    api, loop, arrived = Api(), asyncio.get_running_loop(), asyncio.Semaphore(0)

    async def stay(_: RecordedCall) -> None:
        loop.call_soon_threadsafe(arrived.release)
        await asyncio.Event().wait()

    api.start(grpc.ssl_server_credentials([(key, certificate)]))
    api.on("GetTenant", GOT)
    api.on("ListTenants", stay)
    api.on("WatchTenants", stay)
    settings = Settings(
        dict.fromkeys(SERVICES, f"https://{api.address}"), Token("t"), ca_file=authorities
    )
    try:
        async with Client.connect(settings) as client:
            stub = client.tenants
            stream = aiter(stub.WatchTenants(tenant_service_pb2.WatchTenantsRequest()))
            listing = asyncio.ensure_future(
                stub.ListTenants(tenant_service_pb2.ListTenantsRequest())
            )
            for _ in (stream, listing):
                await arrived.acquire()
            authorities.write_bytes(2 * certificate)
            assert await stub.GetTenant(GET) == GOT

            for cut_off in (listing, anext(stream)):
                with pytest.raises(ApiError, match="cut off on this side") as failed:
                    await cut_off
                assert failed.value.transient
    finally:
        api.close()


def self_signed() -> tuple[bytes, bytes]:
    """A key and a certificate of the loopback's, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(minutes=10))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private, certificate.public_bytes(serialization.Encoding.PEM)
