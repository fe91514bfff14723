"""Certificates that are replaced while servers and channels are in use."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from prometheus_client import REGISTRY
from tests.support.certificates import LOOPBACK, CertificateFiles
from tests.unit.interceptor.probe import Answer, Request, Stub, binding, echo
from tests.unit.interceptor.tls_calls import ASKED, ask, at, refusal, shown

from interceptor.testing import serve
from servicekit.channel import open_channel
from servicekit.errors import PeerUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc

    from servicekit.testing import Keys


async def test_a_certificate_is_replaced_under_open_streams(
    keys: Keys, files: CertificateFiles
) -> None:
    go_on = asyncio.Event()

    async def watch(_: object, __: object) -> AsyncIterator[Answer]:
        yield Answer(text="begun")
        await go_on.wait()
        yield Answer(text="went on")

    tls = files.server()
    async with (
        serve(keys, binding(Ask=echo, Watch=watch), tls=tls) as server,
        open_channel(at(server, files.client()), None, keys.token()) as channel,
    ):
        before = await shown(server, files)
        stream = aiter(Stub(channel).watch(ASKED, timeout=60))
        assert (await anext(stream)).text == "begun"

        files.issue("server", *LOOPBACK, days=2)
        after = await shown(server, files)
        assert after.serial_number != before.serial_number
        expiry = REGISTRY.get_sample_value("nagaya_tls_certificate_expiry_timestamp_seconds")
        assert expiry == after.not_valid_after_utc.timestamp()

        tls.own.cert_file.write_text("half")
        assert (await shown(server, files)).serial_number == after.serial_number

        go_on.set()
        assert [answer.text async for answer in stream] == ["went on"]
        assert await ask(at(server, files.client()), token=keys.token()) == ""


async def test_authorities_of_clients_are_replaced_without_a_restart(
    keys: Keys, files: CertificateFiles, strangers: CertificateFiles
) -> None:
    tls = files.server_with_clients()
    foreign = replace(strangers.workload("runs"), ca_file=tls.own.cert_file.parent / "both.pem")
    assert foreign.ca_file is not None
    foreign.ca_file.write_bytes(files.authority.certificate)
    async with serve(keys, binding(Ask=echo), tls=tls) as server:
        await refusal(ask(at(server, foreign), token=keys.token()))
        files.ca_file.write_bytes(files.authority.certificate + strangers.authority.certificate)
        assert await ask(at(server, foreign), token=keys.token()) == ""


async def test_a_channel_takes_new_certificates_and_its_streams_go_on(
    keys: Keys, files: CertificateFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tls.credentials._RECHECK_SECONDS", 0.0)
    go_on = asyncio.Event()

    async def watch(_: object, __: object) -> AsyncIterator[Answer]:
        yield Answer(text="begun")
        await go_on.wait()
        yield Answer(text="went on")

    async def certified(_: object, context: grpc.aio.ServicerContext[object, object]) -> Answer:
        return Answer(text=str(dict(context.auth_context())["x509_pem_cert"]))

    runs = files.workload("runs")
    behaviours = binding(Ask=certified, Watch=watch)
    async with (
        serve(keys, behaviours, tls=files.server_with_clients()) as server,
        open_channel(at(server, runs), None, keys.token()) as channel,
    ):
        stub = Stub(channel)
        first = (await stub.ask(ASKED)).text
        stream = aiter(stub.watch(ASKED, timeout=60))
        assert (await anext(stream)).text == "begun"

        files.workload("runs")
        second = (await stub.ask(ASKED)).text
        assert first != second
        assert (await stub.ask(ASKED)).text == second

        go_on.set()
        assert [answer.text async for answer in stream] == ["went on"]


async def test_calls_that_outlast_a_renewal_are_cut_off_and_can_be_made_again(
    keys: Keys, files: CertificateFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tls.credentials._RECHECK_SECONDS", 0.0)
    monkeypatch.setattr("tls.credentials._OLD_CALLS_SECONDS", 0.1)
    arrived, never = asyncio.Event(), asyncio.Event()

    async def ask(request: Request, context: object) -> Answer:
        if request.text == "stay":
            arrived.set()
            await never.wait()
        return await echo(request, context)

    async def watch(_: object, __: object) -> AsyncIterator[Answer]:
        yield Answer(text="begun")
        await never.wait()

    runs = files.workload("runs")
    async with (
        serve(keys, binding(Ask=ask, Watch=watch), tls=files.server_with_clients()) as server,
        open_channel(at(server, runs), None, keys.token()) as channel,
    ):
        stub = Stub(channel)
        stream = aiter(stub.watch(ASKED, timeout=60))
        assert (await anext(stream)).text == "begun"
        pending = asyncio.create_task(stub.ask(Request(tenant_id="acme", text="stay")))
        await arrived.wait()

        files.workload("runs")
        await stub.ask(ASKED)

        for cut_off in (pending, anext(stream)):
            with pytest.raises(PeerUnavailable, match="cut off on this side"):
                await cut_off
        assert (await anext(aiter(stub.watch(ASKED)))).text == "begun"


async def test_a_channel_that_is_closed_ends_its_former_connections(
    keys: Keys, files: CertificateFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tls.credentials._RECHECK_SECONDS", 0.0)
    ended = asyncio.Event()

    async def watch(_: object, __: object) -> AsyncIterator[Answer]:
        try:
            yield Answer(text="begun")
            await asyncio.Event().wait()
        finally:
            ended.set()

    runs = files.workload("runs")
    async with (
        serve(keys, binding(Ask=echo, Watch=watch), tls=files.server_with_clients()) as server,
        open_channel(at(server, runs), None, keys.token()) as channel,
        asyncio.timeout(60),
    ):
        stub = Stub(channel)
        stream = aiter(stub.watch(ASKED, timeout=60))
        assert (await anext(stream)).text == "begun"
        files.workload("runs")
        await stub.ask(ASKED)

        await channel.close()

        await ended.wait()
        with pytest.raises(PeerUnavailable):
            await anext(stream)
