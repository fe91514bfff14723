from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest
from tests.unit.interceptor.probe import (
    DOMAIN,
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
from servicekit.call import current_call, current_principal, on_behalf_of
from servicekit.errors import (
    DomainError,
    Forbidden,
    InvalidInput,
    LimitExceeded,
    NotFound,
    Unauthenticated,
    Unavailable,
    ValueUnstorable,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from servicekit.testing import Keys

ASKED = Request(tenant_id="acme")


class ThingNotFound(NotFound):
    reason = "ERROR_REASON_THING_NOT_FOUND"
    hint = "List the things."


class Overrun(Unavailable):
    reason = "ERROR_REASON_OVERRUN"
    retry_at_once = False


async def whoami(_: object, __: object) -> Answer:
    call, principal = current_call(), current_principal()
    assert call is not None
    assert call.method is not None
    words = (principal.user_id, principal.workload, call.tenant_id, call.method.audit_action)
    return Answer(text=" ".join(map(str, words)))


async def refused(call: Awaitable[object]) -> DomainError:
    with pytest.raises(DomainError) as raised:
        await call
    return raised.value


async def test_the_handler_knows_who_calls_for_whom(keys: Keys) -> None:
    async with serve(keys, binding(Ask=whoami)) as running:
        person = await Stub(running.channel(user_id="ada")).ask(ASKED)
        with on_behalf_of(tenant_id="acme", user_id="bob"):
            workload = await Stub(running.workload_channel("runs")).ask(ASKED)

    assert person.text == "ada None acme probe.use"
    assert workload.text == "bob runs acme probe.use"


async def test_people_call_with_permission_for_their_own_tenants_only(keys: Keys) -> None:
    async with serve(keys, binding(Ask=echo)) as running:
        right = Stub(running.channel(scope="probe.use", tenants=["acme"]))
        assert (await right.ask(ASKED)).tenant_id == "acme"
        other_tenant = await refused(right.ask(Request(tenant_id="globex")))
        no_tenant = await refused(right.ask(Request()))
        no_permission = await refused(Stub(running.channel(scope="probe.look")).ask(ASKED))
        no_token = await refused(Stub(running.channel("")).ask(ASKED))

    for error in (other_tenant, no_tenant, no_permission):
        assert isinstance(error, Forbidden)
        assert error.reason == "ERROR_REASON_PERMISSION_DENIED"
    assert no_tenant.message == other_tenant.message
    assert "the token lacks permission probe.use" in no_permission.message
    assert no_permission.metadata == {"permission": "probe.use"}
    assert isinstance(no_token, Unauthenticated)


async def test_workloads_call_where_the_contract_names_them_for_the_tenant_they_say(
    keys: Keys,
) -> None:
    async with serve(keys, binding(Ask=echo)) as running:
        runs, artifacts = (Stub(running.workload_channel(w)) for w in ("runs", "artifacts"))
        with on_behalf_of(tenant_id="acme"):
            assert (await runs.ask(ASKED)).tenant_id == "acme"
            assert (await runs.ask(Request())).tenant_id == ""
            not_named = await refused(artifacts.ask(ASKED))
            other_tenant = await refused(runs.ask(Request(tenant_id="globex")))
        no_tenant = await refused(runs.ask(ASKED))

    assert {type(error).__name__ for error in (not_named, other_tenant, no_tenant)} == {
        "RemoteForbidden"
    }


async def test_every_wrong_field_is_named(keys: Keys) -> None:
    wrong = Request(tenant_id="acme", text="far too long", parts=[Request(text="forbidden")])
    async with serve(keys, binding(Ask=echo)) as running:
        error = await refused(Stub(running.channel()).ask(wrong))

    assert isinstance(error, InvalidInput)
    assert [violation.field for violation in error.violations] == ["text", "parts[0].text"]
    assert error.message.startswith("text: must be at most 10 characters")


async def test_a_stream_is_checked_message_by_message(keys: Keys) -> None:
    too_long = Request(text="far too long")
    async with serve(keys, binding(Send=join, Talk=echo_each)) as running:
        stub = Stub(running.channel(tenants=["acme"]))
        joined = await stub.send(sending(Request(tenant_id="acme", text="a"), Request(text="b")))
        echoed = await read(stub.talk(sending(ASKED, ASKED)))
        wrong_later = await refused(stub.send(sending(ASKED, too_long)))
        other_later = await refused(stub.send(sending(ASKED, Request(tenant_id="globex"))))
        other_first = await refused(read(stub.talk(sending(Request(tenant_id="globex")))))
        nothing = await refused(stub.send(sending()))

    assert (joined.text, len(echoed)) == ("ab", 2)
    assert all(isinstance(e, InvalidInput) for e in (wrong_later, other_later, nothing))
    assert isinstance(other_first, Forbidden)


async def test_a_refusal_carries_reason_domain_metadata_and_hint(keys: Keys) -> None:
    async def refuse(_: object, __: object) -> Answer:
        raise ThingNotFound("there is no thing 7", thing="7")

    async with serve(keys, binding(Ask=refuse)) as running:
        error = await refused(Stub(running.channel()).ask(ASKED))

    assert isinstance(error, NotFound)
    assert error.message == "there is no thing 7. List the things."
    assert (error.reason, error.domain) == ("ERROR_REASON_THING_NOT_FOUND", DOMAIN)
    assert error.metadata == {"thing": "7"}


async def test_clients_call_again_only_where_that_is_wanted_and_harmless(keys: Keys) -> None:
    calls = {"plain": 0, "overrun": 0, "unrepeatable": 0}

    async def ask(request: Request, _: object) -> Answer:
        calls[request.text] += 1
        if request.text == "overrun":
            raise Overrun("later")
        if calls["plain"] < 3:
            raise Unavailable("not yet")
        return Answer()

    async def send(_: object, __: object) -> Answer:
        calls["unrepeatable"] += 1
        raise Unavailable("not yet")

    async with serve(keys, binding(Ask=ask, Send=send)) as running:
        stub = Stub(running.channel())
        await stub.ask(Request(tenant_id="acme", text="plain"))
        await refused(stub.ask(Request(tenant_id="acme", text="overrun")))
        await refused(stub.send(sending(ASKED)))

    assert calls == {"plain": 3, "overrun": 1, "unrepeatable": 1}


async def test_one_tenant_cannot_use_up_the_limits_of_others(keys: Keys) -> None:
    release = asyncio.Event()

    async def wait(_: object, __: object) -> Answer:
        await release.wait()
        return Answer()

    async with serve(keys, binding(Wait=wait), calls_per_tenant=2) as running:
        stub = Stub(running.channel())
        inside = [asyncio.create_task(stub.wait(ASKED)) for _ in range(5)]
        finished, waiting = await asyncio.wait(inside, return_when=asyncio.FIRST_COMPLETED)
        error = finished.pop().exception()
        other = asyncio.create_task(stub.wait(Request(tenant_id="globex")))
        while len(waiting) > 2:
            finished, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            assert all(isinstance(call.exception(), LimitExceeded) for call in finished)
        release.set()
        await asyncio.gather(other, *waiting)
        await stub.wait(ASKED)

    assert isinstance(error, LimitExceeded)
    assert error.metadata["retry_after_ms"] == "200"


async def test_texts_that_no_database_stores_are_named(keys: Keys) -> None:
    async def refuse(*_: object) -> Answer:
        raise ValueUnstorable("a text holds U+0000")

    async def refuse_stream(*_: object) -> AsyncIterator[Answer]:
        raise ValueUnstorable("a text holds U+0000")
        yield Answer()

    parts = [Request(text="a"), Request(text="\0"), Request(parts=[Request(text="b\0")])]
    request = Request(tenant_id="acme", text="a\0", parts=parts)
    async with serve(keys, binding(Ask=refuse, Watch=refuse_stream, Send=refuse)) as running:
        stub = Stub(running.channel())
        errors = [await refused(stub.ask(request)), await refused(read(stub.watch(request)))]
        unnamed = [await refused(stub.ask(ASKED)), await refused(stub.send(sending(request)))]

    for error in errors:
        assert isinstance(error, InvalidInput)
        assert error.reason == "ERROR_REASON_REQUEST_INVALID"
        assert [violation.field for violation in error.violations] == [
            "text",
            "parts[1].text",
            "parts[2].parts[0].text",
        ]
        assert error.message.startswith("text: holds U+0000, which cannot be stored. Each wrong")
    for error in unnamed:
        assert error.message == (
            "a text holds U+0000. "
            "Leave U+0000 out of every text, and send only numbers that JSON has."
        )


async def test_100_refused_uploads_each_learn_why(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("interceptor.draining._MOST_SECONDS", 60.0)  # a busy machine is slow

    async def refuse(requests: AsyncIterator[Request], _: object) -> Answer:
        async for _request in requests:
            raise ThingNotFound("there is no such upload")
        return Answer()

    async def body() -> AsyncIterator[bytes]:
        yield ASKED.SerializeToString()
        for _ in range(40):
            yield Request(text="x").SerializeToString() + b"\x1a\x00" * 90
            await asyncio.sleep(0)

    async with serve(keys, binding(Send=refuse), calls_per_tenant=1000) as running:
        stub = Stub(running.channel(), raw=True)
        errors = await asyncio.gather(*(refused(stub.send(body())) for _ in range(100)))

    assert {error.reason for error in errors} == {"ERROR_REASON_THING_NOT_FOUND"}


async def test_a_stream_that_its_caller_does_not_read_is_ended(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("interceptor.limits._BLOCKED_WRITE_SECONDS", 0.3)
    ended = asyncio.Event()

    async def flood(_: object, __: object) -> AsyncIterator[Answer]:
        try:
            while True:
                yield Answer(text="x" * 100_000)
        finally:
            ended.set()

    async with serve(keys, binding(Follow=flood)) as running:
        stream = Stub(running.channel()).follow(ASKED)
        async for _answer in stream:
            break
        await asyncio.wait_for(ended.wait(), 50)  # its contract would let it take 60 s


async def test_a_handler_that_aborts_by_itself_is_left_alone(keys: Keys) -> None:
    async def abort(_: object, context: grpc.aio.ServicerContext[Request, Answer]) -> Answer:
        await context.abort(grpc.StatusCode.NOT_FOUND, "by hand")

    async with serve(keys, binding(Ask=abort)) as running:
        error = await refused(Stub(running.channel()).ask(ASKED))

    assert isinstance(error, NotFound)
    assert error.message == "by hand"


async def test_the_request_id_is_kept_when_harmless_and_always_returned(keys: Keys) -> None:
    found: list[str] = []
    bound = binding(Ask=echo)
    async with serve(keys, bound) as running, grpc.aio.insecure_channel(running.address) as bare:
        for given in ("mine-1", 'no"pe', ""):
            metadata = [("authorization", f"Bearer {keys.token()}")]
            metadata += [("x-request-id", given)] if given else []
            call = Stub(bare).ask(ASKED, metadata=metadata)
            await call
            trailers = dict(await call.trailing_metadata())
            found.append(str(trailers["x-request-id"]))

    assert found[0] == "mine-1"
    assert len(set(found)) == 3
    assert 'no"pe' not in found
