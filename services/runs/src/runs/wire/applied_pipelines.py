"""What became of an applied pipeline on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya.runs.v1 import pipeline_service_pb2 as pb
from runs.wire.pipelines import pipeline_version
from runs.wire.prompts import prompt_version

if TYPE_CHECKING:
    from runs.domain.applied_pipelines import AppliedPipeline


def apply_response(applied: AppliedPipeline) -> pb.ApplyPipelineResponse:
    return pb.ApplyPipelineResponse(
        pipeline_version=pipeline_version(applied.version),
        created=applied.created,
        prompts=[
            pb.ApplyPipelineResponse.Prompt(
                prompt_version=prompt_version(each.version),
                changed=each.changed,
                replaced_version=each.replaced_version,
            )
            for each in applied.prompts
        ],
    )
