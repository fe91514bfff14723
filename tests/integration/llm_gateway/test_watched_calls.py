"""Reading along while somebody else asks: in this process of the gateway, and in another one."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import grpc
import pytest
from tests.support.gateway_client import Refused

from nagaya.llm_gateway.v1 import call_pb2, generation_service_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.support.gateway_client import GatewayClient
    from tests.support.gateway_stack import GatewayStack

SETTLED = call_pb2.CALL_STATE_SETTLED


async def watch(
    client: GatewayClient, offset: int = 0, attempt: int = 0
) -> AsyncGenerator[generation_service_pb2.WatchCallResponse]:
    """Read along while somebody asks. Raises Refused."""
    request = generation_service_pb2.WatchCallRequest(
        tenant_id=client.tenant_id, key=client.key(), offset=offset, attempt=attempt
    )
    stream = client.generation.WatchCall(request, metadata=client._credentials())
    try:
        async for event in stream:
            yield event
    except grpc.aio.AioRpcError as error:
        raise Refused(error) from None
    finally:
        stream.cancel()


async def read(client: GatewayClient, **at: int) -> tuple[str, call_pb2.Call]:
    """Read along to the end; return the text, and the call."""
    text, call = "", None
    async for event in watch(client, **at):
        assert call is None, "the call is the last message"
        if event.WhichOneof("event") == "delta":
            text += event.delta.text
        else:
            call = event.call
    assert call is not None
    return text, call


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "in another process"])
async def test_a_call_in_flight_is_read_along(
    stack: GatewayStack, client: GatewayClient, *, elsewhere: bool
) -> None:
    reader = await client.via(stack.gateways[1]) if elsewhere else client
    rule = stack.stub.script(client.word, {"kind": "hold", "after_chunks": 6})
    first_caller = asyncio.create_task(client.generate())
    await stack.stub.wait_until_held(rule, first_caller)
    async with asyncio.timeout(20), aclosing(watch(reader)) as found:
        first = (await anext(found)).delta
        assert (first.attempt, first.offset) == (1, 0)
        assert not first_caller.done()
        stack.stub.release(rule)
        rest = [event async for event in found]

    text = first.text + "".join(event.delta.text for event in rest[:-1])
    call = (await first_caller).call
    assert text == (await client.reply(call))["content"]
    assert rest[-1].call.state == SETTLED
    assert len(client.provider_calls()) == 1


async def test_a_stored_reply_is_read_from_any_offset(client: GatewayClient) -> None:
    call = (await client.generate()).call
    whole, read_call = await read(client)

    assert whole == (await client.reply(call))["content"]
    assert read_call == call
    assert await read(client, offset=7, attempt=1) == (whole[7:], call)
    assert await read(client, offset=7, attempt=9) == (whole, call)  # of no attempt that there is


async def test_a_call_that_failed_has_no_text(stack: GatewayStack, client: GatewayClient) -> None:
    stack.stub.script(client.word, {"kind": "status", "status": 400})
    with pytest.raises(Refused):
        await client.generate()

    text, call = await read(client)
    assert (text, call.state) == ("", call_pb2.CALL_STATE_FAILED)


async def test_there_is_nothing_to_read_of_a_call_that_nobody_makes(client: GatewayClient) -> None:
    with pytest.raises(Refused) as refusal:
        await read(client)
    assert refusal.value.reason == "CALL_NOT_FOUND"


async def test_a_person_who_may_not_read_files_reads_no_replies(client: GatewayClient) -> None:
    await client.generate()
    person = await client.as_person("calls.read")

    with pytest.raises(Refused) as refusal:
        await read(person)
    assert refusal.value.reason == "PERMISSION_DENIED"


async def test_an_address_that_no_gateway_has_announced_is_not_dialled(
    stack: GatewayStack, client: GatewayClient
) -> None:
    reader = await client.via(stack.gateways[1])
    rule = stack.stub.script(client.word, {"kind": "hold", "after_chunks": 6})
    first_caller = asyncio.create_task(client.generate())
    await stack.stub.wait_until_held(rule, first_caller)
    dialled = asyncio.Event()
    postponed, log = '"llm_call.watch_postponed"', stack.gateways[1].log
    before = log.read_text().count(postponed)

    async def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dialled.set()
        writer.close()

    server = await asyncio.start_server(note, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        forged = "UPDATE llm_calls SET owner_endpoint = $1 WHERE lease_owner IS NOT NULL"
        await client.database.execute(forged, f"127.0.0.1:{port}")
        reading = asyncio.create_task(read(reader))
        await asyncio.wait({reading}, timeout=1.5)  # it has looked, and soon would again
        assert not reading.done()
        stack.stub.release(rule)
        text, call = await reading

    assert not dialled.is_set()
    assert log.read_text().count(postponed) == before + 1
    assert call.state == SETTLED
    assert text == (await client.reply((await first_caller).call))["content"]
