"""Spans, where somebody collects them; judged by what a collector of its own has received."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from tests.e2e.article import PIPELINE, brief, load_article
from tests.support.public_api import create_run, create_tenant, finish
from tests.support.stack import LocalStack, running_stack

from nagaya.runs.v1 import run_pb2

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

CREATE = ("runs", "nagaya.runs.v1.RunService/CreateRun")


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self) -> None:
        self.spans: list[tuple[str, Span]] = []
        """Each with the service that sent it."""

    def Export(
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        for sent in request.resource_spans:
            named = {each.key: each.value.string_value for each in sent.resource.attributes}
            for scope in sent.scope_spans:
                self.spans += ((named["service.name"], span) for span in scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()


@contextmanager
def collecting() -> Generator[tuple[Collector, str]]:
    collector, server = Collector(), grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield collector, f"http://127.0.0.1:{port}"
    server.stop(None).wait()


async def complete_a_run(stack: LocalStack) -> None:
    async with stack.client() as client:
        tenant_id = await create_tenant(client, "traces")
        await load_article(client, tenant_id)
        run_id = await create_run(client, tenant_id, PIPELINE, brief())
        run = await finish(client, tenant_id, run_id)
        assert run.state == run_pb2.RUN_STATE_COMPLETED


def test_a_run_is_one_trace_from_its_creation_to_the_files_of_its_last_step(
    tmp_path: Path,
) -> None:
    with collecting() as (collector, address):
        with running_stack(tmp_path, NAGAYA_OTLP_ENDPOINT=address) as stack:
            asyncio.run(complete_a_run(stack))
        (created,) = (span for service, span in collector.spans if (service, span.name) == CREATE)
        trace = [each for each in collector.spans if each[1].trace_id == created.trace_id]

    assert {(service, span.name) for service, span in trace} >= {
        CREATE,
        ("runs", "StartWorkflow:PipelineRun"),
        ("runs-worker", "RunWorkflow:PipelineRun"),
        ("runs-worker", "RunActivity:walk"),
        ("llm-gateway", "nagaya.llm_gateway.v1.GenerationService/Generate"),
        ("artifacts", "nagaya.artifacts.v1.ArtifactService/BatchPutArtifacts"),
    }
    known = {span.span_id for _, span in trace}
    assert [span.name for _, span in trace if span.parent_span_id not in known] == [created.name]
