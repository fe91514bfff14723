"""Limits and permits of a server: no caller holds up another, known or not."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from tests.unit.interceptor.probe import SERVICE, Answer, Request, Stub, binding, echo, join

from interceptor.testing import RunningServer, serve
from servicekit.call import current_call
from servicekit.errors import DeadlineExceeded, DomainError, InvalidInput, LimitExceeded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from servicekit.testing import Keys

OTHER = Request(tenant_id="globex", text="hello")
CONNECTIONS = 16
SILENT = 4_000
STREAMS = 512
"""How many of one tenant a server has open, if it is not told otherwise."""


async def nothing() -> AsyncIterator[bytes]:
    await asyncio.Event().wait()
    yield b""


async def open_silently(
    stack: AsyncExitStack, running: RunningServer, method: str, token: str | None
) -> list[grpc.aio.StreamUnaryCall[Any, Any]]:
    """Open calls that never send a message, as many as SILENT says."""
    metadata = () if token is None else (("authorization", f"Bearer {token}"),)
    calls: list[grpc.aio.StreamUnaryCall[Any, Any]] = []
    for number in range(CONNECTIONS):
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.channel_id", number)]
        channel = await stack.enter_async_context(
            grpc.aio.insecure_channel(running.address, options)
        )
        call: Callable[..., Any] = channel.stream_unary(f"/{SERVICE}/{method}")
        calls += [call(nothing(), metadata=metadata) for _ in range(SILENT // CONNECTIONS)]
    return calls


async def codes(calls: Iterable[grpc.aio.StreamUnaryCall[Any, Any]]) -> set[grpc.StatusCode]:
    return set(await asyncio.gather(*(call.code() for call in calls)))


@pytest.mark.parametrize("method", ["Send", "Ask"])  # to gRPC both may be a stream
@pytest.mark.parametrize("known", [False, True])
async def test_thousands_of_silent_calls_do_not_use_up_the_limits_of_others(
    keys: Keys, method: str, monkeypatch: pytest.MonkeyPatch, *, known: bool
) -> None:
    monkeypatch.setattr("interceptor.limits._FIRST_MESSAGE_SECONDS", 3.0)
    token = keys.token(tenants=["acme"]) if known else None
    async with (
        serve(keys, binding(Send=join, Ask=echo)) as running,
        running.channel(tenants=["globex"]) as channel,
        AsyncExitStack() as stack,
    ):
        stub = Stub(channel)
        silent = await open_silently(stack, running, method, token)
        answers = [await stub.ask(OTHER, timeout=60) for _ in range(20)]
        refused = await codes(silent)

    assert {answer.text for answer in answers} == {"hello"}
    why = grpc.StatusCode.RESOURCE_EXHAUSTED if known else grpc.StatusCode.UNAUTHENTICATED
    assert why in refused
    assert grpc.StatusCode.OK not in refused


@pytest.mark.parametrize("method", ["Send", "Ask"])
async def test_a_call_whose_first_message_does_not_come_is_ended(
    keys: Keys, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("interceptor.limits._FIRST_MESSAGE_SECONDS", 0.2)
    async with serve(keys, binding(Send=join, Ask=echo)) as running, running.channel() as channel:
        call: Callable[..., Any] = channel.stream_unary(f"/{SERVICE}/{method}")
        with pytest.raises(DeadlineExceeded, match=r"no message came for 0\.2 s"):
            await call(nothing(), timeout=60)


async def test_a_call_that_ends_before_its_first_message_is_refused_with_a_reason(
    keys: Keys,
) -> None:
    async def empty() -> AsyncIterator[bytes]:
        return
        yield b""

    async with serve(keys, binding(Ask=echo)) as running, running.channel() as channel:
        call: Callable[..., Any] = channel.stream_unary(f"/{SERVICE}/Ask")
        with pytest.raises(InvalidInput, match="ended before its first message"):
            await call(empty())


async def test_a_tenant_with_one_call_waits_for_few_of_one_with_hundreds(keys: Keys) -> None:
    begun: list[str] = []
    come = {"acme": asyncio.Event(), "globex": asyncio.Event()}

    async def work(request: Request, _: object) -> Answer:
        if request.text == "to connect":
            return Answer()
        call = current_call()
        assert call is not None
        assert call.tenant_id is not None
        begun.append(call.tenant_id)
        come[call.tenant_id].set()
        await come["globex"].wait()
        return Answer()

    async with (
        serve(keys, binding(Wait=work)) as running,
        running.channel(tenants=["acme"]) as busy,
        running.channel(tenants=["globex"]) as calm,
    ):
        # Else the others have all begun before its connection is made, on a busy machine.
        await Stub(calm).wait(Request(tenant_id="globex", text="to connect"))
        many = [asyncio.create_task(Stub(busy).wait(Request(tenant_id="acme"))) for _ in range(200)]
        await come["acme"].wait()
        await Stub(calm).wait(OTHER)
        ahead = begun.index("globex")
        await asyncio.gather(*many, return_exceptions=True)

    assert ahead < 100  # of 200 that came before


async def test_who_waits_for_a_turn_gives_it_to_others(keys: Keys) -> None:
    released = asyncio.Event()

    async def work(request: Request, _: object) -> Answer:
        if request.text == "wait":
            await released.wait()
        return Answer()

    async with serve(keys, binding(Wait=work)) as running, running.channel() as channel:
        stub = Stub(channel)
        waiting = [
            asyncio.create_task(stub.wait(Request(tenant_id="acme", text="wait")))
            for _ in range(100)
        ]
        await stub.wait(Request(tenant_id="acme"))
        done = [call for call in waiting if call.done()]
        released.set()
        await asyncio.gather(*waiting, return_exceptions=True)

    assert done == []


async def test_a_request_of_countless_parts_is_refused_before_its_rules_are_looked_at(
    keys: Keys,
) -> None:
    inner = Request(parts=[Request()] * 100)
    many = Request(tenant_id="acme", parts=[Request(parts=[inner] * 100)] * 2)
    async with serve(keys, binding(Ask=echo)) as running, running.channel() as channel:
        with pytest.raises(InvalidInput, match=r"more than 10,000 messages"):
            await Stub(channel).ask(many)


async def test_of_two_tokens_none_is_taken(keys: Keys) -> None:
    given = [("authorization", f"Bearer {keys.token(tenants=[name])}") for name in ("a-b", "c-d")]
    async with (
        serve(keys, binding(Ask=echo)) as running,
        grpc.aio.insecure_channel(running.address) as bare,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await Stub(bare).ask(Request(tenant_id="c-d"), metadata=given)

    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert "more than one token" in (raised.value.details() or "")


async def test_more_than_100_entries_of_metadata_are_refused_with_a_reason(keys: Keys) -> None:
    metadata = [(f"x-{number}", "1") for number in range(120)]
    async with serve(keys, binding(Ask=echo)) as running, running.channel() as channel:
        with pytest.raises(DomainError) as raised:
            await Stub(channel).ask(OTHER, metadata=metadata)
        answer = await Stub(channel).ask(OTHER, metadata=metadata[:80])

    assert raised.value.reason == "ERROR_REASON_REQUEST_INVALID"
    assert "entries of metadata" in raised.value.message
    assert answer.text == "hello"


async def test_streams_beyond_the_limit_of_a_tenant_are_refused_with_a_reason(keys: Keys) -> None:
    """One connection has room for more calls than the limit, or they would wait in silence."""

    async def endless(_: Request, __: object) -> AsyncIterator[Answer]:
        yield Answer(text="begun")
        await asyncio.Event().wait()

    acme = Request(tenant_id="acme")
    async with (
        serve(keys, binding(Ask=echo, Follow=endless)) as running,
        running.channel() as channel,
        AsyncExitStack() as stack,
    ):
        stub = Stub(channel)
        streams: list[Any] = [aiter(stub.follow(acme)) for _ in range(STREAMS)]
        for stream in streams:
            stack.push_async_callback(stream.aclose)
        begun = [await anext(stream) for stream in streams]
        with pytest.raises(LimitExceeded):
            await anext(aiter(stub.follow(acme)))
        answer = await stub.ask(acme)

    assert {each.text for each in begun} == {"begun"}
    assert answer.tenant_id == "acme"


async def test_a_call_is_counted_no_more_however_it_ends(keys: Keys) -> None:
    async def fail(request: Request, _: object) -> Answer:
        if request.text == "fail":
            raise LimitExceeded("too much")
        return Answer(text="whole")

    async with (
        serve(keys, binding(Ask=fail), calls_per_tenant=2) as running,
        running.channel() as channel,
    ):
        stub = Stub(channel)
        for _ in range(5):
            with pytest.raises(LimitExceeded):
                await stub.ask(Request(tenant_id="acme", text="fail"))
            with pytest.raises(InvalidInput):
                await stub.ask(Request(tenant_id="acme", text="forbidden"))
            gone = asyncio.create_task(stub.ask(Request(tenant_id="acme")))
            await asyncio.sleep(0)
            gone.cancel()
        answer = await stub.ask(Request(tenant_id="acme"))

    assert answer.text == "whole"
