"""TLS of servers and channels, by real handshakes: who is let in, who is refused, and why."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import grpc
import pytest
from tests.support.certificates import LOOPBACK, CertificateFiles
from tests.unit.interceptor.probe import Answer, Request, Stub, binding, echo, read
from tests.unit.interceptor.tls_calls import ASKED, ask, at, refusal, shown, why_refused

from interceptor.testing import serve
from servicekit.channel import open_channel
from servicekit.errors import PeerUnavailable, StartRefused
from tls.address import ServerAddress
from tls.config import ClientTls, ServerTls
from tls.credentials import Connection
from tls.files import CertificateInvalid

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from servicekit.testing import Keys


async def test_a_server_with_a_certificate_is_called_by_https(
    keys: Keys, files: CertificateFiles
) -> None:
    async with serve(keys, binding(Ask=echo), tls=files.server()) as server:
        for host in LOOPBACK:
            asked = Request(tenant_id="acme", text="hello")
            text = await ask(at(server, files.client(), host), token=keys.token(), request=asked)
            assert text == "hello"
        await shown(server, files)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
async def test_versions_of_tls_that_are_broken_are_refused(
    keys: Keys, files: CertificateFiles
) -> None:
    async with serve(keys, binding(Ask=echo), tls=files.server()) as server:
        context = ssl.create_default_context(cafile=str(files.ca_file))
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        host, _, port = server.address.rpartition(":")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection(host, int(port), ssl=context)


async def test_a_plaintext_call_to_a_tls_server_is_refused_in_words(
    keys: Keys, files: CertificateFiles
) -> None:
    async with serve(keys, binding(Ask=echo), tls=files.server()) as server:
        assert "its address begins with https://" in await why_refused(at(server, None))
        error = await refusal(ask(at(server, None), token=keys.token()))

    assert isinstance(error, PeerUnavailable)
    assert error.message.endswith("if it speaks TLS, its address begins with https://")


async def test_a_call_by_tls_to_a_plaintext_server_is_refused_in_words(
    keys: Keys, files: CertificateFiles
) -> None:
    async with serve(keys, binding(Ask=echo)) as server:
        assert "it speaks no TLS" in await why_refused(at(server, files.client()))


async def test_a_server_whose_certificate_is_not_right_is_not_called(
    keys: Keys, files: CertificateFiles, strangers: CertificateFiles
) -> None:
    for tls, trusted, words in (
        (strangers.server(), files.client(), "NAGAYA_CA_FILE"),
        (files.server("runs.example.com"), files.client(), "for another name than 127.0.0.1"),
        (files.server(), ClientTls(), "NAGAYA_CA_FILE"),
    ):
        async with serve(keys, binding(Ask=echo), tls=tls) as server:
            assert words in await why_refused(at(server, trusted))


async def test_a_server_whose_certificate_has_expired_is_not_called(
    files: CertificateFiles,
) -> None:
    expired = files.issue("old", *LOOPBACK, starts=datetime.now(UTC) - timedelta(days=3))
    early = files.issue("new", *LOOPBACK, starts=datetime.now(UTC) + timedelta(days=3))
    for pair, words in (
        (expired, "its certificate has expired"),
        (early, "its certificate is not valid yet"),
    ):
        server = grpc.aio.server()
        shown = (pair.key_file.read_bytes(), pair.cert_file.read_bytes())
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([shown]))
        await server.start()
        assert words in await why_refused(ServerAddress("127.0.0.1", port, files.client()))
        await server.stop(0)


async def test_a_client_whose_certificate_has_expired_does_not_connect(
    keys: Keys, files: CertificateFiles, capfd: pytest.CaptureFixture[str]
) -> None:
    expired = files.issue("old", starts=datetime.now(UTC) - timedelta(days=3))
    shown = (expired.key_file.read_bytes(), expired.cert_file.read_bytes())
    credentials = grpc.ssl_channel_credentials(files.authority.certificate, *shown)
    async with (
        serve(keys, binding(Ask=echo), tls=files.server_with_clients()) as server,
        grpc.aio.secure_channel(server.address, credentials) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=60)

    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "certificate has expired" in capfd.readouterr().err  # which the server logs


async def test_nothing_starts_with_a_certificate_that_nobody_would_accept(
    keys: Keys, files: CertificateFiles
) -> None:
    expired = files.issue("old", *LOOPBACK, starts=datetime.now(UTC) - timedelta(days=3))
    with pytest.raises(StartRefused, match="has expired"):
        async with serve(keys, binding(Ask=echo), tls=ServerTls(expired)):
            pass
    with pytest.raises(CertificateInvalid, match="has expired"):
        Connection(ServerAddress("127.0.0.1", 1, ClientTls(files.ca_file, expired)), ())


async def test_who_has_no_certificate_or_a_stranger_s_does_not_connect(
    keys: Keys, files: CertificateFiles, strangers: CertificateFiles
) -> None:
    async with serve(keys, binding(Ask=echo), tls=files.server_with_clients()) as server:
        without = await why_refused(at(server, files.client()))
        foreign = replace(strangers.workload("runs"), ca_file=files.ca_file)
        of_strangers = await why_refused(at(server, foreign))

    assert "NAGAYA_TLS_CERT_FILE" in without
    assert "may not accept the certificate that it was shown" in of_strangers


async def test_health_is_asked_by_tls_too(keys: Keys, files: CertificateFiles) -> None:
    async with serve(keys, binding(Ask=echo), tls=files.server()) as server:
        credentials = grpc.ssl_channel_credentials(files.authority.certificate)
        async with grpc.aio.secure_channel(server.address, credentials) as channel:
            check = channel.unary_unary("/grpc.health.v1.Health/Check")
            assert await check(b"") == b"\x08\x01"


async def test_an_address_by_name_is_resolved_and_verified(
    keys: Keys, files: CertificateFiles
) -> None:
    async with serve(keys, binding(Ask=echo), tls=files.server("localhost")) as server:
        port = server.address.rpartition(":")[2]
        address = ServerAddress.parse(f"dns+https:///localhost:{port}", files.client())
        async with open_channel(address, None, keys.token()) as channel:
            assert len(await read(_once(Stub(channel)))) == 1


async def _once(stub: Stub) -> AsyncIterator[Answer]:
    yield await stub.ask(ASKED, timeout=60)
