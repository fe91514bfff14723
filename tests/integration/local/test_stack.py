"""The whole stack, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest

from nagaya.llm_gateway.v1 import catalog_service_pb2 as pb
from nagaya_local import commands
from nagaya_local.clone.layout import Layout
from nagaya_local.names import PARTS
from nagaya_local.parts.health import probe_grpc_health
from nagaya_local.supervisor.orphans import find_orphans
from nagaya_local.supervisor.state import PartState, current_state
from tls.address import ServerAddress

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.timeout(240)
async def test_everything_comes_up_through_envoy_and_goes_down_without_a_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NAGAYA_PG_URL", "S3_ENDPOINT", "TEMPORAL_ADDRESS", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    layout = Layout(tmp_path / "a clone")
    layout.root.mkdir()
    lines: list[str] = []
    try:
        endpoints = await commands.up(layout, lines.append)

        parts = {part.name: part for part in current_state(layout).parts}
        assert set(parts) == set(PARTS)
        assert {part.state for part in parts.values()} == {PartState.READY}
        assert all(any(line.startswith(name) for line in lines) for name in PARTS)
        for address in (endpoints.tenant, endpoints.runs, endpoints.artifacts):
            await probe_grpc_health(ServerAddress.parse(address), address)
        token = (layout.tokens / "operator.jwt").read_text().strip()
        assert _openai_url(endpoints.llm_gateway, token) == endpoints.llmstub_url
    finally:
        await commands.down(layout, lines.append)

    assert lines[-1] == "nothing runs"
    assert find_orphans(layout) == ()


def _openai_url(address: str, token: str) -> str:
    with grpc.insecure_channel(address) as channel:
        answer = channel.unary_unary(
            "/nagaya.llm_gateway.v1.CatalogService/ListProviders",
            request_serializer=pb.ListProvidersRequest.SerializeToString,
            response_deserializer=pb.ListProvidersResponse.FromString,
        )(
            pb.ListProvidersRequest(),
            timeout=20,
            metadata=(("authorization", f"Bearer {token}"),),
        )
    return next(row.api_base_url for row in answer.providers if row.provider_id == "openai")
