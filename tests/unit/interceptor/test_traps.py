"""Traps that the default code of a gRPC server in Python falls into: T1 to T5, T8 to T10."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import grpc
import pytest
from tests.unit.interceptor.probe import (
    Answer,
    Request,
    Stub,
    binding,
    echo,
    echo_each,
    join,
    read,
    sending,
)

from interceptor.testing import serve
from servicekit.call import current_call
from servicekit.errors import DeadlineExceeded, Internal, InvalidInput, LimitExceeded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from interceptor.server import Binding
    from servicekit.testing import Keys

CANARY = "postgresql://svc:hunter2@db/tenant1"
ASKED = Request(tenant_id="acme")

CALLS: dict[str, Callable[[Stub], Awaitable[object]]] = {
    "ask": lambda stub: stub.ask(ASKED),
    "watch": lambda stub: read(stub.watch(ASKED)),
    "send": lambda stub: stub.send(sending(ASKED)),
    "talk": lambda stub: read(stub.talk(sending(ASKED))),
}
GARBAGE = b"\xff\xff"
GARBAGE_CALLS: dict[str, Callable[[Stub], Awaitable[object]]] = {
    "ask": lambda stub: stub.ask(GARBAGE),
    "watch": lambda stub: read(stub.watch(GARBAGE)),
    "send": lambda stub: stub.send(sending(GARBAGE)),
    "talk": lambda stub: read(stub.talk(sending(GARBAGE))),
}


async def sleep(_: object, __: object) -> Answer:
    await asyncio.sleep(30)
    return Answer()


async def fail(_: object, __: object) -> Answer:
    raise RuntimeError(f"{CANARY} failed")


async def fail_in_a_stream(_: object, __: object) -> AsyncIterator[Answer]:
    yield Answer(text="first")
    raise RuntimeError(f"{CANARY} failed")


FAILING = binding(Ask=fail, Watch=fail_in_a_stream, Send=fail, Talk=fail_in_a_stream)


@pytest.mark.parametrize("shape", CALLS)
async def test_t1_the_text_of_an_unexpected_error_never_leaves_the_server(
    keys: Keys, caplog: pytest.LogCaptureFixture, shape: str
) -> None:
    async with serve(keys, FAILING) as running, grpc.aio.insecure_channel(running.address) as bare:
        with pytest.raises(Internal) as raised:
            await CALLS[shape](Stub(running.channel()))
        with pytest.raises(grpc.aio.AioRpcError) as raw:
            await Stub(bare).ask(ASKED, metadata=[("authorization", f"Bearer {keys.token()}")])

    error_id = raised.value.metadata["error_id"]
    assert raised.value.message == f"internal error {error_id}"
    assert CANARY not in repr(raw.value)
    assert error_id in [getattr(record, "error_id", "") for record in caplog.records]


@pytest.mark.parametrize("shape", GARBAGE_CALLS)
async def test_t2_a_malformed_message_is_an_invalid_argument(keys: Keys, shape: str) -> None:
    async with serve(keys, FAILING) as running:
        with pytest.raises(InvalidInput) as raised:
            await GARBAGE_CALLS[shape](Stub(running.channel(), raw=True))

    assert raised.value.reason == "ERROR_REASON_REQUEST_INVALID"


async def wait_for_something_cancelled(_: object, __: object) -> Answer:
    downstream = asyncio.ensure_future(asyncio.Event().wait())
    asyncio.get_running_loop().call_soon(downstream.cancel)
    await downstream
    return Answer()


async def stream_something_cancelled(_: object, __: object) -> AsyncIterator[Answer]:
    yield await wait_for_something_cancelled(_, __)


@pytest.mark.parametrize("shape", CALLS)
async def test_t3_a_cancelled_downstream_call_does_not_leave_the_caller_waiting(
    keys: Keys, shape: str
) -> None:
    unary, stream = wait_for_something_cancelled, stream_something_cancelled
    bound = binding(Ask=unary, Watch=stream, Send=unary, Talk=stream)
    async with serve(keys, bound) as running, grpc.aio.insecure_channel(running.address) as bare:
        metadata = [("authorization", f"Bearer {keys.token()}")]
        stub = Stub(bare)
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "ask": lambda: stub.ask(ASKED, metadata=metadata),
            "watch": lambda: read(stub.watch(ASKED, metadata=metadata)),
            "send": lambda: stub.send(sending(ASKED), metadata=metadata),
            "talk": lambda: read(stub.talk(sending(ASKED), metadata=metadata)),
        }
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await calls[shape]()  # else it would wait for ever

    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_t5_a_stream_that_its_caller_cancels_ends_in_its_handler_too(keys: Keys) -> None:
    ended: asyncio.Queue[str] = asyncio.Queue()

    async def endless(_: object, __: object) -> AsyncIterator[Answer]:
        try:
            while True:
                yield Answer(text="token")
                await asyncio.sleep(0.001)
        finally:
            ended.put_nowait("closed")

    async with serve(keys, binding(Watch=endless)) as running:
        stub = Stub(running.channel())
        for _ in range(20):
            stream = stub.watch(ASKED)
            async for _answer in stream:
                break
            stream.cancel()
            assert await asyncio.wait_for(ended.get(), 20) == "closed"


async def test_t8_a_deadline_holds_over_three_hops_and_shrinks(keys: Keys) -> None:
    left: list[float] = []

    def hop(onward: Stub | None) -> Binding:
        async def ask(request: Request, context: object) -> Answer:
            call = current_call()
            left.append((call.remaining() if call is not None else None) or 0.0)
            if onward is not None:
                return await onward.wait(request, timeout=30)
            return await sleep(request, context)

        return binding(Wait=ask)

    async with (
        serve(keys, hop(None)) as third,
        serve(keys, hop(Stub(third.channel()))) as second,
        serve(keys, hop(Stub(second.channel()))) as first,
    ):
        begun = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await Stub(first.channel()).wait(ASKED, timeout=2)
        took = time.monotonic() - begun

    assert took < 20  # not what each hop would wait for
    assert 2.001 >= left[0] > left[1] > left[2] > 0  # gRPC sends what is left in milliseconds


@pytest.mark.parametrize("deadline", [None, 600])
async def test_t8_a_method_takes_no_longer_than_its_contract_says(
    keys: Keys, deadline: float | None
) -> None:
    bound = binding(Ask=sleep)
    async with serve(keys, bound) as running, grpc.aio.insecure_channel(running.address) as bare:
        begun = time.monotonic()
        metadata = [("authorization", f"Bearer {keys.token()}")]
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await Stub(bare).ask(ASKED, metadata=metadata, timeout=deadline)
        took = time.monotonic() - begun

    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert 1.9 < took < 20


async def test_t9_a_small_body_of_countless_messages_is_refused_before_it_is_parsed(
    keys: Keys,
) -> None:
    empty_part = b"\x1a\x00"
    parsed = 0

    def parse(raw: bytes) -> Request:
        nonlocal parsed
        parsed += 1
        return Request.FromString(raw)

    tenant = ASKED.SerializeToString()
    async with serve(keys, binding(Ask=echo, parse=parse)) as running:
        stub = Stub(running.channel(), raw=True)
        with pytest.raises(LimitExceeded):
            await stub.ask(tenant + empty_part * (2 << 20))
        assert parsed == 0
        with pytest.raises(InvalidInput) as raised:
            await stub.ask(tenant + empty_part * 101)

    assert [violation.field for violation in raised.value.violations] == ["parts"]


@pytest.mark.parametrize("shape", CALLS)
async def test_t10_the_body_of_an_unknown_caller_is_never_parsed(keys: Keys, shape: str) -> None:
    parsed: list[bytes] = []

    def parse(raw: bytes) -> Request:
        parsed.append(raw)
        return Request.FromString(raw)

    bound = binding(Ask=echo, Watch=fail_in_a_stream, Send=join, Talk=echo_each, parse=parse)
    async with serve(keys, bound) as running, grpc.aio.insecure_channel(running.address) as bare:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await CALLS[shape](Stub(bare))

    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert parsed == []
