"""Prompts on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya.runs.v1 import prompt_pb2
from servicekit.times import timestamp

if TYPE_CHECKING:
    from runs.domain.prompts import PromptUse, PromptVersion


def prompt_version(prompt: PromptVersion) -> prompt_pb2.PromptVersion:
    return prompt_pb2.PromptVersion(
        step=prompt.prompt,
        version=prompt.version,
        content=prompt.content,
        variables=prompt.variables,
        active=prompt.active,
        digest=prompt.digest,
        create_time=timestamp(prompt.create_time),
        labels=prompt.labels,
    )


def prompt_use(use: PromptUse) -> prompt_pb2.PromptUse:
    return prompt_pb2.PromptUse(pipeline=use.pipeline, step=use.step, label=use.label)
