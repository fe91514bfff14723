"""How much memory the requests of one caller may take before anybody has looked at them."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from tests.unit.interceptor.probe import SERVICE, Answer, Request, Stub, binding, echo

from interceptor.testing import RunningServer, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from servicekit.testing import Keys

MEBIBYTE = 1 << 20
CALLS = 100
SENDER = Path(__file__).with_name("sender.py")


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def growth(running: RunningServer, token: str, compression: str, size: int) -> int:
    """Return by how much this process grows while another one sends it requests."""
    before = most = resident_bytes()
    sender = await asyncio.create_subprocess_exec(
        sys.executable, SENDER, running.address, f"/{SERVICE}/Ask", token, compression, str(size)
    )
    ended = asyncio.create_task(sender.wait())
    while not ended.done():
        await asyncio.wait((ended,), timeout=0.01)
        most = max(most, resident_bytes())
    assert ended.result() == 0
    return most - before


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_a_compressed_request_is_refused_with_a_reason(
    keys: Keys, compression: grpc.Compression
) -> None:
    handled: list[str] = []

    async def note(request: Any, _: object) -> Answer:  # noqa: ANN401 - the probe's own message
        handled.append(request.text)
        return Answer()

    async with (
        serve(keys, binding(Ask=note)) as running,
        running.channel() as channel,
        grpc.aio.insecure_channel(running.address) as compressing,
    ):
        call: Callable[..., Any] = compressing.unary_unary(f"/{SERVICE}/Ask")
        body = Request(tenant_id="acme", text="a" * 9).SerializeToString()
        metadata = (("authorization", f"Bearer {keys.token()}"),)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(body, metadata=metadata, compression=compression, timeout=60)
        answer = await Stub(channel).ask(Request(tenant_id="acme", text="plain"))

    name = "gzip" if compression is grpc.Compression.Gzip else "deflate"
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert name in (refused.value.details() or "")
    assert answer == Answer()
    assert handled == ["plain"]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(("compression", "mebibytes"), [("Gzip", 4), ("NoCompression", 3)])
async def test_a_server_does_not_grow_by_what_one_caller_sends_at_once(
    keys: Keys, compression: str, mebibytes: int, *, known: bool
) -> None:
    token = keys.token(tenants=["acme"]) if known else "no.token.atall"
    async with serve(keys, binding(Ask=echo)) as running:
        grown = await growth(running, token, compression, mebibytes * MEBIBYTE)

    assert grown < CALLS * 3 * MEBIBYTE / 2


async def test_a_caller_who_does_not_send_delays_itself_and_no_other(keys: Keys) -> None:
    async def nothing() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async with (
        serve(keys, binding(Ask=echo)) as running,
        grpc.aio.insecure_channel(running.address) as silent,
        running.channel(tenants=["globex"]) as other,
    ):
        metadata = (("authorization", f"Bearer {keys.token(tenants=['acme'])}"),)
        call: Callable[..., Any] = silent.stream_unary(f"/{SERVICE}/Ask")
        pending: list[Any] = [call(nothing(), metadata=metadata, timeout=60) for _ in range(50)]
        # on the same connection, so that the server sees it after the 50
        last: Callable[..., Any] = silent.unary_unary(f"/{SERVICE}/Ask")
        body = Request(tenant_id="acme", text="hello").SerializeToString()
        pending.append(last(body, metadata=metadata, timeout=60))
        answer = await Stub(other).ask(Request(tenant_id="globex", text="hello"), timeout=60)
        unanswered = [each for each in pending if not each.done()]

    assert answer.text == "hello"
    assert len(unanswered) == len(pending)


async def test_a_server_that_stops_while_calls_arrive_logs_no_defect(
    keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    async def nothing() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async with (
        serve(keys, binding(Ask=echo)) as running,
        grpc.aio.insecure_channel(running.address) as silent,
    ):
        metadata = (("authorization", f"Bearer {keys.token(tenants=['acme'])}"),)
        call: Callable[..., Any] = silent.stream_unary(f"/{SERVICE}/Ask")
        pending = [call(nothing(), metadata=metadata, timeout=60) for _ in range(5)]
        last: Callable[..., Any] = silent.unary_unary(f"/{SERVICE}/Ask")
        body = Request(tenant_id="acme", text="hello").SerializeToString()
        await last(body, metadata=metadata, timeout=60)  # so the server has seen the others
        await running.server.stop(0.0)
        codes = [await each.code() for each in pending]

    assert grpc.StatusCode.OK not in codes  # which other one is up to gRPC
    assert "a defect" not in caplog.text
