"""The objects of the worker, each with exactly what it uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runs.peers.artifacts import Artifacts
from runs.peers.llm_gateway import LlmGateway
from runs.worker.activities.error_files import ErrorFiles
from runs.worker.activities.function import FunctionStepRunner
from runs.worker.activities.journal import Journal
from runs.worker.activities.llm import LlmStepRunner
from runs.worker.activities.run_context import RunContextCache
from runs.worker.activities.run_initializer import RunInitializer
from runs.worker.activities.runs import RunActivities
from runs.worker.activities.step_inputs import StepInputFinder
from runs.worker.activities.steps import StepActivities
from runs.worker.builtin import BUILT_IN
from runs.worker.functions import FunctionRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import grpc

    from dataplane.tenants import DataPlane
    from runs.worker.function_host.pool import FunctionPool


def make_activities(
    data: DataPlane,
    artifacts_channel: grpc.aio.Channel,
    gateway_channel: grpc.aio.Channel,
    pool: FunctionPool,
) -> Sequence[Callable[..., object]]:
    """Return the activities that the workflows call."""
    artifacts, gateway = Artifacts(artifacts_channel), LlmGateway(gateway_channel)
    tenants = data.tenants
    journal = Journal(tenants)
    contexts = RunContextCache(tenants)
    initializer = RunInitializer(journal, contexts, artifacts)
    runs = RunActivities(data, journal, contexts, initializer, gateway)
    steps = StepActivities(
        tenants,
        journal,
        initializer,
        StepInputFinder(),
        artifacts,
        LlmStepRunner(contexts, gateway, artifacts),
        FunctionStepRunner(FunctionRegistry.discover(BUILT_IN), pool, artifacts),
        ErrorFiles(artifacts),
    )
    return [
        runs.begin_run,
        runs.end_run,
        steps.run_step,
        steps.run_short_step,
        steps.open_map,
        steps.close_map,
    ]
