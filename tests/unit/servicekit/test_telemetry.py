from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.openmetrics import exposition as open_metrics
from tests.unit.interceptor.probe import SERVICE, Answer, Request, Stub, binding, echo

from interceptor.testing import serve
from servicekit import telemetry
from servicekit.call import on_behalf_of
from servicekit.errors import DomainError, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import ReadableSpan

    from servicekit.testing import Keys

ASKED = Request(tenant_id="acme")
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
CANARY = "hunter2"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(telemetry, "tracer", lambda: provider.get_tracer("test"))
    yield exporter
    provider.shutdown()


async def answer(request: Request, context: object) -> Answer:
    if request.text == "absent":
        raise NotFound("nothing of the kind")
    if request.text == "broken":
        raise RuntimeError(CANARY)
    return await echo(request, context)


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, {"rpc_method": f"{SERVICE}/Ask", **labels}) or 0.0


async def test_calls_are_counted_by_method_and_code_and_never_by_tenant(keys: Keys) -> None:
    names = "rpc_server_calls_total", "rpc_server_call_duration_seconds_count"
    before = [sample(names[0], rpc_response_status_code="NOT_FOUND"), sample(names[1])]
    async with serve(keys, binding(Ask=answer)) as running:
        stub = Stub(running.channel())
        await stub.ask(ASKED)
        with pytest.raises(NotFound):
            await stub.ask(Request(tenant_id="acme", text="absent"))
    after = [sample(names[0], rpc_response_status_code="NOT_FOUND"), sample(names[1])]

    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 2]
    assert sample("rpc_server_calls_in_flight") == 0
    text = generate_latest(REGISTRY).decode()
    assert 'rpc_server_call_duration_seconds_bucket{le="+Inf",' in text
    assert "acme" not in text


async def test_a_call_s_duration_names_its_trace(keys: Keys, spans: InMemorySpanExporter) -> None:
    async with serve(keys, binding(Ask=answer)) as running:
        await Stub(running.channel()).ask(ASKED)

    (span,) = spans.get_finished_spans()
    trace_id = f"{_context(span).trace_id:032x}"
    assert f'# {{trace_id="{trace_id}"}}' in open_metrics.generate_latest(REGISTRY).decode()


async def test_a_service_s_call_continues_its_trace_and_a_person_s_is_linked(
    keys: Keys, spans: InMemorySpanExporter
) -> None:
    metadata = [("traceparent", PARENT)]
    async with serve(keys, binding(Ask=answer)) as running:
        with on_behalf_of(tenant_id="acme"):
            await Stub(running.workload_channel("runs")).ask(ASKED, metadata=metadata)
        await Stub(running.channel()).ask(ASKED, metadata=metadata)
        await Stub(running.channel()).ask(ASKED, metadata=[("traceparent", "nonsense")])

    continued, linked, fresh = spans.get_finished_spans()
    assert f"{_context(continued).trace_id:032x}" == TRACE
    assert f"{_context(linked).trace_id:032x}" != TRACE
    assert [f"{link.context.trace_id:032x}" for link in linked.links] == [TRACE]
    assert (fresh.parent, list(fresh.links)) == (None, [])
    assert continued.name == f"{SERVICE}/Ask"
    assert dict(continued.attributes or {}) == {
        "rpc.system.name": "grpc",
        "rpc.method": f"{SERVICE}/Ask",
        "rpc.response.status_code": "OK",
    }


async def test_a_trace_goes_on_over_services(keys: Keys, spans: InMemorySpanExporter) -> None:
    async with serve(keys, binding(Ask=answer)) as behind:
        onward = Stub(behind.workload_channel("runs"))

        async def ask(request: Request, _: object) -> Answer:
            return await onward.ask(request)

        async with serve(keys, binding(Ask=ask)) as front:
            await Stub(front.channel()).ask(ASKED)

    inner, outer = spans.get_finished_spans()
    assert inner.parent is not None
    assert inner.parent.span_id == _context(outer).span_id


async def test_only_the_server_s_faults_are_errors_and_no_span_holds_their_words(
    keys: Keys, spans: InMemorySpanExporter
) -> None:
    async with serve(keys, binding(Ask=answer)) as running:
        for text in ("absent", "broken"):
            with pytest.raises(DomainError):
                await Stub(running.channel()).ask(Request(tenant_id="acme", text=text))

    absent, broken = spans.get_finished_spans()
    assert absent.status.status_code is trace.StatusCode.UNSET
    assert broken.status.status_code is trace.StatusCode.ERROR
    assert (broken.attributes or {})["error.type"] == "ERROR_REASON_INTERNAL"
    assert CANARY not in broken.to_json()


def test_nobody_pays_for_spans_that_go_nowhere() -> None:
    assert telemetry.tracer() is None


def _context(span: ReadableSpan) -> trace.SpanContext:
    context = span.get_span_context()
    assert context is not None
    return context
