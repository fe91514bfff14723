"""Lists of large things: pages end early, and go on where they ended."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from nagaya.runs.v1 import (
    pipeline_service_pb2,
    prompt_service_pb2,
    prompt_service_pb2_grpc,
    run_service_pb2,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import grpc
    from google.protobuf.message import Message
    from tests.support.runs_client import RunsClient

MOST_TO_READ = 4 << 20
"""What a client of gRPC reads at most unless told otherwise."""

JSON_BYTES = 1 << 20
"""What a page that is made of JSON values stays under, the last item included."""


async def pages(list_page: Callable[[Any], Awaitable[Any]], request: Message) -> list[Any]:
    """Return all pages of a list."""
    found = [await list_page(request)]
    while token := found[-1].next_page_token:
        found.append(await list_page(type(request)(**fields(request), page_token=token)))
    return found


def fields(request: Message) -> dict[str, Any]:
    return {field.name: value for field, value in request.ListFields()}


async def test_pages_of_large_prompts_are_small_enough_for_any_client(
    channel: grpc.aio.Channel,
) -> None:
    stub = prompt_service_pb2_grpc.PromptServiceStub(channel)
    for number in range(20):
        await stub.CreatePromptVersion(
            prompt_service_pb2.CreatePromptVersionRequest(
                tenant_id="acme", request_id=f"r{number}", step="a", content=f"{number}" * 130_000
            )
        )
    request = prompt_service_pb2.ListPromptVersionsRequest(
        tenant_id="acme", step="a", page_size=200
    )
    found = await pages(stub.ListPromptVersions, request)

    assert max(page.ByteSize() for page in found) < MOST_TO_READ
    versions = [prompt.version for page in found for prompt in page.prompt_versions]
    assert versions == list(range(20, 0, -1))
    assert len(found) < 10


async def test_pages_of_large_runs_end_early(client: RunsClient) -> None:
    await client.pipeline()
    config = {"numbers": [0] * 7_000}
    created = [
        (await client.run(f"r{number}", inline=1, config_json=json.dumps(config))).run_id
        for number in range(30)
    ]
    request = run_service_pb2.ListRunsRequest(tenant_id="acme", page_size=200)
    found = await pages(client.runs.ListRuns, request)

    assert max(page.ByteSize() for page in found) < JSON_BYTES
    assert [run.run_id for page in found for run in page.runs] == created[::-1]


async def test_pages_of_large_pipelines_end_early(client: RunsClient) -> None:
    large = {"numbers": [0] * 9_000}
    steps = {"step": "a", "function": {"function": "copy", "arguments": large}}
    for number in range(12):
        await client.pipeline(steps, request_id=f"r{number}")
    request = pipeline_service_pb2.ListPipelineVersionsRequest(tenant_id="acme", page_size=200)
    found = await pages(client.pipelines.ListPipelineVersions, request)

    assert max(page.ByteSize() for page in found) < JSON_BYTES
    versions = [each.version for page in found for each in page.pipeline_versions]
    assert versions == list(range(12, 0, -1))


async def test_a_thing_that_is_larger_than_a_page_is_a_page(client: RunsClient) -> None:
    texts = {"text": "x" * 60_000}
    steps = [
        {"step": f"s{number}", "function": {"function": "copy", "arguments": texts}}
        for number in range(6)
    ]
    for number in range(3):
        await client.pipeline(*steps, request_id=f"r{number}")
    request = pipeline_service_pb2.ListPipelineVersionsRequest(tenant_id="acme", page_size=2)
    found = await pages(client.pipelines.ListPipelineVersions, request)

    assert [[each.version for each in page.pipeline_versions] for page in found] == [[3], [2], [1]]
