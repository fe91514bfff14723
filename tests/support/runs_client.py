"""A client of the service runs, with its messages written as JSON."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import ParseDict

from nagaya.runs.v1 import (
    approval_service_pb2_grpc,
    pipeline_pb2,
    pipeline_service_pb2,
    pipeline_service_pb2_grpc,
    prompt_service_pb2_grpc,
    run_pb2,
    run_service_pb2,
    run_service_pb2_grpc,
    schedule_service_pb2_grpc,
    webhook_service_pb2_grpc,
)

if TYPE_CHECKING:
    import grpc
    import pytest

    from servicekit.errors import DomainError


class RunsClient:
    """All services of runs on one channel; the tenant is acme."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.prompts = prompt_service_pb2_grpc.PromptServiceStub(channel)
        self.pipelines = pipeline_service_pb2_grpc.PipelineServiceStub(channel)
        self.runs = run_service_pb2_grpc.RunServiceStub(channel)
        self.schedules = schedule_service_pb2_grpc.ScheduleServiceStub(channel)
        self.webhooks = webhook_service_pb2_grpc.WebhookServiceStub(channel)
        self.approvals = approval_service_pb2_grpc.ApprovalServiceStub(channel)

    async def pipeline(
        self, *steps: dict[str, Any], request_id: str = ""
    ) -> pipeline_pb2.PipelineVersion:
        request = {
            "tenant_id": "acme",
            "request_id": request_id or secrets.token_hex(8),
            "pipeline": "article",
            "spec": {"steps": steps or [{"step": "copy", "function": {"function": "copy"}}]},
        }
        message = ParseDict(request, pipeline_service_pb2.CreatePipelineVersionRequest())
        return (await self.pipelines.CreatePipelineVersion(message)).pipeline_version

    async def run(self, request_id: str = "", **fields: object) -> run_pb2.Run:
        request = {
            "tenant_id": "acme",
            "request_id": request_id or secrets.token_hex(8),
            "pipeline": "article",
            **fields,
        }
        message = ParseDict(request, run_service_pb2.CreateRunRequest())
        return (await self.runs.CreateRun(message)).run

    async def get(self, run_id: str) -> run_pb2.Run:
        request = run_service_pb2.GetRunRequest(tenant_id="acme", run_id=run_id)
        return (await self.runs.GetRun(request)).run

    async def start(self, run_id: str) -> run_pb2.Run:
        request = run_service_pb2.StartRunRequest(tenant_id="acme", run_id=run_id)
        return (await self.runs.StartRun(request)).run

    async def cancel(self, run_id: str) -> run_pb2.Run:
        request = run_service_pb2.CancelRunRequest(tenant_id="acme", run_id=run_id)
        return (await self.runs.CancelRun(request)).run

    async def pause(self, run_id: str) -> run_pb2.Run:
        request = run_service_pb2.PauseRunRequest(tenant_id="acme", run_id=run_id)
        return (await self.runs.PauseRun(request)).run

    async def resume(self, run_id: str) -> run_pb2.Run:
        request = run_service_pb2.ResumeRunRequest(tenant_id="acme", run_id=run_id)
        return (await self.runs.ResumeRun(request)).run

    async def retry(self, run_id: str, request_id: str = "", **fields: Any) -> run_pb2.Run:  # noqa: ANN401
        request = run_service_pb2.RetryRunRequest(
            tenant_id="acme", run_id=run_id, request_id=request_id or secrets.token_hex(8), **fields
        )
        return (await self.runs.RetryRun(request)).run


def reason(refusal: pytest.ExceptionInfo[DomainError]) -> str:
    return refusal.value.reason.removeprefix("ERROR_REASON_")
