from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.unit.interceptor.probe import Answer, Request, Stub, binding, read

from interceptor.testing import serve
from nagaya_local.machine.ports import free_port
from servicekit import status
from servicekit.call import current_call, current_principal, on_behalf_of
from servicekit.channel import open_channel
from servicekit.errors import (
    AlreadyExists,
    DatabaseUnavailable,
    DeadlineExceeded,
    Internal,
    InvalidInput,
    NotFound,
    PeerUnavailable,
    Violation,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from interceptor.server import Binding
    from servicekit.testing import Keys

ASKED = Request(tenant_id="acme")


class ThingExists(AlreadyExists):
    reason = "ERROR_REASON_THING_EXISTS"


class ThingWrong(InvalidInput):
    reason = "ERROR_REASON_THING_WRONG"
    hint = "Make it right."


def seen(_: object, __: object) -> str:
    call = current_call()
    assert call is not None
    return f"{current_principal().user_id} {call.tenant_id} {call.request_id} {call.traceparent}"


async def ask_seen(request: object, context: object) -> Answer:
    return Answer(text=seen(request, context))


async def watch_seen(request: object, context: object) -> AsyncIterator[Answer]:
    yield Answer(text=seen(request, context))


def passing_on(stub: Stub) -> Binding:
    async def ask(request: Request, _: object) -> Answer:
        return await stub.ask(request)

    async def watch(request: Request, _: object) -> AsyncIterator[Answer]:
        async for answer in stub.watch(request):
            yield answer

    return binding(Ask=ask, Watch=watch)


async def test_person_tenant_request_and_trace_ride_along_from_service_to_service(
    keys: Keys,
) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    metadata = [("x-request-id", "request-1"), ("traceparent", trace)]
    async with (
        serve(keys, binding(Ask=ask_seen, Watch=watch_seen)) as behind,
        serve(keys, passing_on(Stub(behind.workload_channel("runs")))) as front,
    ):
        stub = Stub(front.workload_channel("runs"))
        with on_behalf_of(tenant_id="acme", user_id="ada"):
            unary = await stub.ask(ASKED, metadata=metadata)
            streamed = await read(stub.watch(ASKED, metadata=metadata))
        stranger = await Stub(front.channel(user_id="bob")).ask(ASKED, metadata=metadata)

    assert unary.text == streamed[0].text == f"ada acme request-1 {trace}"
    assert stranger.text == "bob acme request-1 None"


async def test_a_handler_may_call_on_behalf_of_somebody_else(keys: Keys) -> None:
    async with serve(keys, binding(Ask=ask_seen)) as behind:
        onward = Stub(behind.workload_channel("runs"))

        async def ask(_: object, __: object) -> Answer:
            with on_behalf_of(tenant_id="globex", user_id="bob"):
                return await onward.ask(Request(tenant_id="globex"))

        async with serve(keys, binding(Ask=ask)) as front:
            metadata = [("x-request-id", "request-1")]
            answer = await Stub(front.channel()).ask(ASKED, metadata=metadata)

    assert answer.text == "bob globex request-1 None"


async def test_a_peer_that_cannot_be_reached_is_named(keys: Keys) -> None:
    address = f"127.0.0.1:{free_port()}"
    async with open_channel(address, None, keys.token()) as channel:
        with pytest.raises(PeerUnavailable) as raised:
            await Stub(channel).ask(ASKED, timeout=5)
        with pytest.raises(PeerUnavailable) as raised_by_stream:
            await read(Stub(channel).watch(ASKED, timeout=5))

    assert raised.value.message == "the service probe cannot be reached"
    assert raised.value.metadata == raised_by_stream.value.metadata == {"peer": "probe"}


async def test_a_large_request_is_repeated_too(keys: Keys) -> None:
    asked = 0

    async def fail_once(_: object, __: object) -> Answer:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise DatabaseUnavailable("not at the moment")
        return Answer(text="there")

    # What would break a rule of the fields is replaced once it has been sent.
    bound = binding(parse=lambda _: ASKED, Ask=fail_once)
    async with serve(keys, bound) as running:
        answer = await Stub(running.channel()).ask(Request(tenant_id="acme", text="x" * 600_000))

    assert (answer.text, asked) == ("there", 2)


async def test_a_peer_s_refusal_is_caught_as_its_kind_or_passed_on_as_it_is(keys: Keys) -> None:
    async def refuse(_: object, __: object) -> Answer:
        violations = (Violation("text", "is dull"),)
        raise ThingWrong("the thing is wrong", violations=violations, thing="7")

    async with (
        serve(keys, binding(Ask=refuse)) as behind,
        serve(keys, passing_on(Stub(behind.channel()))) as front,
    ):
        with pytest.raises(InvalidInput) as raised:
            await Stub(front.channel()).ask(ASKED)

    assert isinstance(raised.value, status.RemoteError)
    assert raised.value.message == "the thing is wrong. Make it right."
    assert (raised.value.reason, raised.value.metadata) == (
        "ERROR_REASON_THING_WRONG",
        {"thing": "7"},
    )
    assert raised.value.violations == (Violation("text", "is dull"),)


async def test_a_peer_that_does_not_know_us_is_our_defect_and_not_our_caller_s(keys: Keys) -> None:
    async with (
        serve(keys, binding(Ask=ask_seen)) as behind,
        serve(keys, passing_on(Stub(behind.channel("wrong token")))) as front,
    ):
        with pytest.raises(Internal) as raised:
            await Stub(front.channel()).ask(ASKED)

    assert "token" not in raised.value.message


async def test_the_caller_s_own_timeout_is_a_deadline(keys: Keys) -> None:
    async def sleep(_: object, __: object) -> Answer:
        await asyncio.sleep(30)
        return Answer()

    async with serve(keys, binding(Ask=sleep)) as running:
        with pytest.raises(DeadlineExceeded) as raised:
            await Stub(running.channel()).ask(ASKED, timeout=0.1)

    assert raised.value.reason == "ERROR_REASON_DEADLINE_EXCEEDED"


async def test_a_task_that_is_cancelled_during_a_call_ends_as_cancelled(
    keys: Keys,
) -> None:
    arrived = asyncio.Semaphore(0)

    async def ask(_: object, __: object) -> Answer:
        arrived.release()
        await asyncio.Event().wait()
        return Answer()

    async def watch(request: object, context: object) -> AsyncIterator[Answer]:
        yield await ask(request, context)

    async with serve(keys, binding(Ask=ask, Watch=watch)) as running:
        stub = Stub(running.channel())
        tasks = (
            asyncio.create_task(stub.ask(ASKED)),
            asyncio.create_task(read(stub.watch(ASKED))),
        )
        for _ in tasks:
            await arrived.acquire()
        for task in tasks:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        for call in (stub.ask(ASKED), read(stub.watch(ASKED))):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await call


def test_errors_survive_a_batch() -> None:
    error = ThingExists("there is a thing 7", thing="7", retry_after_ms="250")

    message = status.to_proto(error, "probe.nagaya.dev")
    again = status.from_proto(message)

    assert isinstance(again, AlreadyExists)
    assert (again.reason, again.domain) == ("ERROR_REASON_THING_EXISTS", "probe.nagaya.dev")
    assert again.metadata == {"thing": "7", "retry_after_ms": "250"}
    assert [detail.type_url.rpartition(".")[2] for detail in message.details] == [
        "ErrorInfo",
        "RetryInfo",
    ]


def test_details_are_cut_to_what_trailers_hold() -> None:
    violations = [Violation(f"parts[{n}]", "is wrong " * 100) for n in range(1000)]
    error = ThingWrong("wrong " * 1000, violations=violations, body="x" * 10_000)

    refusal = status.encode(error, "probe.nagaya.dev")

    assert len(refusal.message) == 1000
    assert len(refusal.details) < 6000
    again = status.from_proto(status.to_proto(error, "probe.nagaya.dev"))
    assert isinstance(again, InvalidInput)
    assert 0 < len(again.violations) < 30


def test_every_kind_has_one_code_and_comes_back_as_itself() -> None:
    kinds = (InvalidInput, NotFound, AlreadyExists, Internal, DeadlineExceeded)
    for kind in kinds:
        assert isinstance(status.from_proto(status.to_proto(kind("so"), "x")), kind)
