"""The service's gRPC services, ready to be served."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.server import Binding, bind
from nagaya.runs.v1.approval_service_pb2_grpc import add_ApprovalServiceServicer_to_server
from nagaya.runs.v1.pipeline_service_pb2_grpc import add_PipelineServiceServicer_to_server
from nagaya.runs.v1.prompt_service_pb2_grpc import add_PromptServiceServicer_to_server
from nagaya.runs.v1.run_service_pb2_grpc import add_RunServiceServicer_to_server
from nagaya.runs.v1.schedule_service_pb2_grpc import add_ScheduleServiceServicer_to_server
from nagaya.runs.v1.tenant_limit_service_pb2_grpc import (
    add_TenantLimitServiceServicer_to_server,
)
from nagaya.runs.v1.webhook_service_pb2_grpc import add_WebhookServiceServicer_to_server
from nagaya.tenant_data.v1.tenant_data_service_pb2_grpc import (
    add_TenantDataServiceServicer_to_server,
)

if TYPE_CHECKING:
    from runs.api.servicer.approvals import ApprovalServicer
    from runs.api.servicer.pipelines import PipelineServicer
    from runs.api.servicer.prompts import PromptServicer
    from runs.api.servicer.runs import RunServicer
    from runs.api.servicer.schedules import ScheduleServicer
    from runs.api.servicer.tenant_limits import TenantLimitServicer
    from runs.api.servicer.webhooks import WebhookServicer
    from tenantdata.servicer import TenantDataServicer


def bindings(
    prompts: PromptServicer,
    pipelines: PipelineServicer,
    runs: RunServicer,
    approvals: ApprovalServicer,
    schedules: ScheduleServicer,
    webhooks: WebhookServicer,
    limits: TenantLimitServicer,
    tenant_data: TenantDataServicer,
) -> list[Binding]:
    """Bind each servicer to the name of its service."""
    return [
        bind(add_PromptServiceServicer_to_server, prompts, "nagaya.runs.v1.PromptService"),
        bind(add_PipelineServiceServicer_to_server, pipelines, "nagaya.runs.v1.PipelineService"),
        bind(add_RunServiceServicer_to_server, runs, "nagaya.runs.v1.RunService"),
        bind(add_ScheduleServiceServicer_to_server, schedules, "nagaya.runs.v1.ScheduleService"),
        bind(add_WebhookServiceServicer_to_server, webhooks, "nagaya.runs.v1.WebhookService"),
        bind(add_TenantLimitServiceServicer_to_server, limits, "nagaya.runs.v1.TenantLimitService"),
        bind(add_ApprovalServiceServicer_to_server, approvals, "nagaya.runs.v1.ApprovalService"),
        bind(
            add_TenantDataServiceServicer_to_server,
            tenant_data,
            "nagaya.tenant_data.v1.TenantDataService",
        ),
    ]
