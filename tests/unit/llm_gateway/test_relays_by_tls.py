"""Reading along in another process of the gateway: it is asked if it has the gateway's name."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING
from uuid import UUID

import grpc
import pytest
from tests.support.certificates import CertificateFiles

from interceptor.server import Binding
from interceptor.testing import serve
from llm_gateway.domain.calls import CallKey
from llm_gateway.peers.gateways import Gateways
from nagaya.llm_gateway.v1 import generation_service_pb2 as pb
from servicekit.call import on_behalf_of
from servicekit.errors import PeerUnavailable
from tls.config import ClientTls, ServerTls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from servicekit.testing import Keys

SERVICE = "nagaya.llm_gateway.v1.GenerationService"
NAME = "llm-gateway"
KEY = CallKey(UUID("0b9fdf8a-8c0d-4f8e-9d5e-6a2f6f6d7a11"), "draft", 0, 1, 1)


class Other:
    """Another process, which holds the call."""

    def __init__(self) -> None:
        self.asked = 0

    async def WatchCall(
        self, request: pb.WatchCallRequest, context: object
    ) -> AsyncIterator[pb.WatchCallResponse]:
        del request, context
        self.asked += 1
        response = pb.WatchCallResponse()
        response.delta.attempt, response.delta.text = 1, "so far"
        yield response

    def binding(self) -> Binding:
        handler = grpc.unary_stream_rpc_method_handler(
            self.WatchCall,
            request_deserializer=pb.WatchCallRequest.FromString,
            response_serializer=pb.WatchCallResponse.SerializeToString,
        )
        return Binding(SERVICE, {"WatchCall": handler}, 1 << 20)


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    return CertificateFiles(tmp_path)


async def read_along(keys: Keys, tls: ClientTls | None, endpoint: str) -> list[str]:
    signer = keys.signer(NAME)
    async with Gateways(signer, tls) as gateways:
        with on_behalf_of("acme"):
            watch = gateways.watch(endpoint, "acme", KEY, 0, 1)
            async with aclosing(watch) as deltas:
                return [delta.text async for delta in deltas]


async def test_a_process_of_the_same_name_is_asked_wherever_it_is(
    keys: Keys, files: CertificateFiles
) -> None:
    other = Other()
    here = ClientTls(files.ca_file, files.issue("here", NAME))
    there = ServerTls(files.issue("there", NAME), files.ca_file)
    async with serve(keys, other.binding(), tls=there) as server:
        assert await read_along(keys, here, f"https://{server.address}") == ["so far"]


async def test_whoever_has_another_name_at_the_lease_s_address_hears_nothing(
    keys: Keys, files: CertificateFiles
) -> None:
    other = Other()
    here = ClientTls(files.ca_file, files.issue("here", NAME, "127.0.0.1"))
    there = ServerTls(files.issue("there", "artifacts", "127.0.0.1"))
    async with serve(keys, other.binding(), tls=there) as server:
        with pytest.raises(PeerUnavailable):
            await read_along(keys, here, f"https://{server.address}")

    assert other.asked == 0


@pytest.mark.parametrize("scheme", ["", "http://", "dns:///", "ftp://"])
async def test_an_address_without_tls_is_not_asked(
    keys: Keys, files: CertificateFiles, scheme: str
) -> None:
    other = Other()
    here = ClientTls(files.ca_file, files.issue("here", NAME))
    async with serve(keys, other.binding()) as server:
        with pytest.raises(PeerUnavailable, match=r"the lease names|is not asked"):
            await read_along(keys, here, f"{scheme}{server.address}")

    assert other.asked == 0


async def test_where_all_speak_plaintext_an_address_by_tls_is_not_asked(keys: Keys) -> None:
    with pytest.raises(PeerUnavailable, match="is not asked: this process speaks plaintext"):
        await read_along(keys, None, "https://127.0.0.1:1")
