"""Pipelines and runs of ours: chains of three steps and more, and how long a run takes."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.ours import MODEL, TENANT
from nagaya.llm_gateway.v1 import model_pb2
from nagaya.runs.v1 import (
    pipeline_pb2,
    pipeline_service_pb2,
    prompt_service_pb2,
    run_pb2,
    run_service_pb2,
)

if TYPE_CHECKING:
    from nagaya_client.client import Client

PROMPT = "{{text}} ".ljust(600, "x")
_FINAL = (run_pb2.RUN_STATE_COMPLETED, run_pb2.RUN_STATE_FAILED, run_pb2.RUN_STATE_CANCELLED)


@dataclass(frozen=True, slots=True)
class Chain:
    """A pipeline of so many steps, one after the other."""

    kind: str
    """`short` or `function`, which do nothing, or `llm`, which asks the mock."""
    steps: int = 3

    @property
    def pipeline(self) -> str:
        return f"{self.kind}-{self.steps}"

    async def create(self, nagaya: Client) -> None:
        """Create the pipeline in the tenant, and its prompts."""
        names = [f"{self.kind}-{number}" for number in range(1, self.steps + 1)]
        steps = [
            self._step(name, before)
            for name, before in zip(names, ("input", *names[:-1]), strict=True)
        ]
        for name in names if self.kind == "llm" else []:
            await create_prompt(nagaya, name)
        request = pipeline_service_pb2.CreatePipelineVersionRequest(
            tenant_id=TENANT,
            request_id=self.pipeline,
            pipeline=self.pipeline,
            spec=pipeline_pb2.PipelineSpec(steps=steps),
        )
        await nagaya.pipelines.CreatePipelineVersion(request)

    def _step(self, name: str, before: str) -> pipeline_pb2.StepSpec:
        if self.kind == "llm":
            text = pipeline_pb2.Binding(variable="text", output=pipeline_pb2.OutputRef(step=before))
            model = model_pb2.ModelChoice(model_id=MODEL)
            llm = pipeline_pb2.LlmStep(bindings=[text], model=model, max_output_tokens=2000)
            return pipeline_pb2.StepSpec(step=name, needs=[before], llm=llm)
        short = self.kind == "short"
        function = pipeline_pb2.FunctionStep(function="constant", short=short)
        return pipeline_pb2.StepSpec(step=name, needs=[before], function=function)

    async def run(self, nagaya: Client) -> str:
        """Create a run and watch it to its end; return its id. Raises RuntimeError if it fails.

        By then every row, event and file is committed.
        """
        request = run_service_pb2.CreateRunRequest(
            tenant_id=TENANT, request_id=uuid.uuid4().hex, pipeline=self.pipeline
        )
        request.inline.string_value = "nothing"
        run_id = (await nagaya.runs.CreateRun(request)).run.run_id
        watch = run_service_pb2.WatchRunRequest(tenant_id=TENANT, run_id=run_id)
        async for message in nagaya.runs.WatchRun(watch):
            run = message.event.run
            if message.event.HasField("run") and run.state in _FINAL:
                if run.state != run_pb2.RUN_STATE_COMPLETED:
                    raise RuntimeError(f"a run of {self.pipeline} failed: {run.error.message}")
                break
        return run_id


async def create_prompt(nagaya: Client, step: str) -> None:
    """Let a step ask with a text of 600 characters, in which its variable `text` stands."""
    created = await nagaya.prompts.CreatePromptVersion(
        prompt_service_pb2.CreatePromptVersionRequest(
            tenant_id=TENANT, request_id=uuid.uuid4().hex, step=step, content=PROMPT
        )
    )
    await nagaya.prompts.ActivatePromptVersion(
        prompt_service_pb2.ActivatePromptVersionRequest(
            tenant_id=TENANT, step=step, version=created.prompt_version.version
        )
    )
