"""The service's gRPC services, ready to be served."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.server import Binding, bind
from nagaya.runs.v1.pipeline_service_pb2_grpc import add_PipelineServiceServicer_to_server
from nagaya.runs.v1.prompt_service_pb2_grpc import add_PromptServiceServicer_to_server
from nagaya.runs.v1.run_service_pb2_grpc import add_RunServiceServicer_to_server
from runs.app.pipelines import Pipelines
from runs.app.prompts import Prompts
from runs.servicer.pipelines import PipelineServicer
from runs.servicer.prompts import PromptServicer
from runs.servicer.runs import RunServicer

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools
    from runs.app.runs import Runs
    from runs.store.stores import Stores
    from runs.watch import Watch


def bindings(tenants: TenantPools, stores: Stores, runs: Runs, watch: Watch) -> list[Binding]:
    prompts = PromptServicer(Prompts(tenants, stores.prompts), tenants, stores.prompts)
    pipelines = PipelineServicer(
        Pipelines(tenants, stores.pipelines, stores.prompts), tenants, stores.pipelines
    )
    running = RunServicer(runs, tenants, stores.runs, watch)
    return [
        bind(add_PromptServiceServicer_to_server, prompts, "nagaya.runs.v1.PromptService"),
        bind(add_PipelineServiceServicer_to_server, pipelines, "nagaya.runs.v1.PipelineService"),
        bind(add_RunServiceServicer_to_server, running, "nagaya.runs.v1.RunService"),
    ]
