"""The unary calls of the load: reads of every service, and creations that have a request id."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nagaya.artifacts.v1 import artifact_service_pb2
from nagaya.llm_gateway.v1 import call_service_pb2, catalog_service_pb2
from nagaya.runs.v1 import prompt_service_pb2, run_service_pb2
from nagaya.tenant.v1 import tenant_service_pb2

if TYPE_CHECKING:
    import random

    from google.protobuf.message import Message

NOTE = "note"
"""The prompt of which the load creates version after version."""
PIPELINE = "article"
LAST = "all"
"""The pipeline's last step."""
PROMPTS = {"outline": "Outline {{brief}}", "draft": "Draft {{outline}}"}
SPEC = {
    "steps": [
        {
            "step": "outline",
            "needs": ["input"],
            "llm": {
                "bindings": [{"variable": "brief", "output": {"step": "input"}}],
                "unknownPolicy": "UNKNOWN_POLICY_REDO",
            },
        },
        {
            "step": "draft",
            "needs": ["outline"],
            "llm": {
                "bindings": [{"variable": "outline", "output": {"step": "outline"}}],
                "unknownPolicy": "UNKNOWN_POLICY_REDO",
            },
        },
        {"step": LAST, "needs": ["outline", "draft"], "function": {"function": "collect"}},
    ]
}
"""Two calls of a model, which a gateway that is killed may ask again, and a function."""


@dataclass(frozen=True, slots=True)
class Question:
    """One call: the stub's name in a client, the method, and the request."""

    stub: str
    method: str
    request: Message

    @property
    def name(self) -> str:
        return f"{self.stub}.{self.method}"


@dataclass(slots=True)
class Questions:
    """Makes calls about one tenant, and about the run that ended last."""

    tenant_id: str
    run_id: str
    path: str
    """Of a file of the run."""

    def any(self, chance: random.Random) -> Question:
        """Make one at random; each service is asked about as often as the others."""
        service = chance.choice((self._tenant, self._runs, self._artifacts, self._gateway))
        return chance.choice(service())

    def create_run(self) -> Question:
        """Ask for a run that waits for its input."""
        request = run_service_pb2.CreateRunRequest(
            tenant_id=self.tenant_id, request_id=uuid.uuid4().hex, pipeline=PIPELINE, hold=True
        )
        return Question("runs", "CreateRun", request)

    def start_run(self, run_id: str) -> Question:
        request = run_service_pb2.StartRunRequest(tenant_id=self.tenant_id, run_id=run_id)
        return Question("runs", "StartRun", request)

    def get_run(self, run_id: str) -> Question:
        request = run_service_pb2.GetRunRequest(tenant_id=self.tenant_id, run_id=run_id)
        return Question("runs", "GetRun", request)

    def list_steps(self, run_id: str) -> Question:
        request = run_service_pb2.ListRunStepsRequest(tenant_id=self.tenant_id, run_id=run_id)
        return Question("runs", "ListRunSteps", request)

    def _tenant(self) -> tuple[Question, ...]:
        pb = tenant_service_pb2
        return (
            Question("tenants", "GetTenant", pb.GetTenantRequest(tenant_id=self.tenant_id)),
            Question("tenants", "ListTenants", pb.ListTenantsRequest(page_size=2)),
        )

    def _runs(self) -> tuple[Question, ...]:
        runs, prompts, tenant_id = run_service_pb2, prompt_service_pb2, self.tenant_id
        created = prompts.CreatePromptVersionRequest(
            tenant_id=tenant_id, request_id=uuid.uuid4().hex, step=NOTE, content="A note."
        )
        latest = prompts.GetPromptVersionRequest(tenant_id=tenant_id, step="outline")
        return (
            self.get_run(self.run_id),
            Question("runs", "ListRuns", runs.ListRunsRequest(tenant_id=tenant_id, page_size=2)),
            self.list_steps(self.run_id),
            Question("prompts", "GetPromptVersion", latest),
            Question("prompts", "CreatePromptVersion", created),
        )

    def _artifacts(self) -> tuple[Question, ...]:
        pb, tenant_id = artifact_service_pb2, self.tenant_id
        one = pb.GetArtifactRequest(tenant_id=tenant_id, path=self.path)
        some = pb.ListArtifactsRequest(tenant_id=tenant_id, run_id=self.run_id)
        return Question("artifacts", "GetArtifact", one), Question(
            "artifacts", "ListArtifacts", some
        )

    def _gateway(self) -> tuple[Question, ...]:
        calls = call_service_pb2.ListCallsRequest(tenant_id=self.tenant_id, run_id=self.run_id)
        models = catalog_service_pb2.ListModelsRequest(page_size=5)
        return Question("calls", "ListCalls", calls), Question("catalog", "ListModels", models)
