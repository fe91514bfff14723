"""Calls by TLS to a server of the tests' own."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING

import grpc
import pytest
from cryptography import x509
from tests.unit.interceptor.probe import Request, Stub

from servicekit.channel import open_channel
from servicekit.errors import DomainError
from tls.address import ServerAddress
from tls.credentials import Connection
from tls.failures import explain

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tests.support.certificates import CertificateFiles

    from interceptor.testing import RunningServer
    from servicekit.identity import WorkloadSigner
    from tls.config import ClientTls

ASKED = Request(tenant_id="acme")
OF_NO_TENANT = Request()


def at(server: RunningServer, tls: ClientTls | None, host: str = "127.0.0.1") -> ServerAddress:
    return replace(ServerAddress.parse(server.address), host=host, tls=tls)


async def ask(
    address: ServerAddress,
    signer: WorkloadSigner | None = None,
    token: str | None = None,
    request: Request = ASKED,
) -> str:
    async with open_channel(address, signer, token) as channel:
        return (await Stub(channel).ask(request, timeout=60)).text


async def refusal(call: Awaitable[object]) -> DomainError:
    with pytest.raises(DomainError) as raised:
        await call
    return raised.value


async def why_refused(address: ServerAddress) -> str:
    """Return why no call reaches a server, in the words for people."""
    connection = Connection(address, ())
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await connection.call("unary_unary", "/grpc.health.v1.Health/Check")(b"", timeout=60)
    await connection.close()
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    return explain(refused.value.details() or "", address)


async def shown(server: RunningServer, files: CertificateFiles) -> x509.Certificate:
    """Return the certificate that a client which is not gRPC is shown."""
    context = ssl.create_default_context(cafile=str(files.ca_file))
    context.set_alpn_protocols(["h2"])
    host, _, port = server.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    connection: ssl.SSLObject = writer.get_extra_info("ssl_object")
    assert (connection.selected_alpn_protocol(), connection.version()) == ("h2", "TLSv1.3")
    found = connection.getpeercert(binary_form=True)
    writer.close()
    del reader
    assert found is not None
    return x509.load_der_x509_certificate(found)
