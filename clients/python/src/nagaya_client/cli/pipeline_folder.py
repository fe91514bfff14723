"""Folders that hold a pipeline and its prompts, and what applying one changes."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from nagaya.runs.v1 import pipeline_service_pb2 as pb
from nagaya.runs.v1 import prompt_service_pb2
from nagaya_client.cli.output import yaml_text
from nagaya_client.errors import ApiError
from nagaya_client.pipeline_file import PipelineFile, read_pipeline

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nagaya_client.client import Client

_PIPELINE = "pipeline.yaml"
_PROMPTS = "prompts"
_NOT_FOUND = "ERROR_REASON_PIPELINE_NOT_FOUND"


@dataclass(frozen=True, slots=True)
class PipelineFolder:
    """A pipeline and its prompts as a folder says them."""

    file: PipelineFile
    prompts: tuple[tuple[str, str], ...]
    """Names and templates."""

    def request(
        self, tenant_id: str, *, validate_only: bool = False, allow_shared: bool = False
    ) -> pb.ApplyPipelineRequest:
        return pb.ApplyPipelineRequest(
            tenant_id=tenant_id,
            pipeline=self.file.pipeline,
            spec=self.file.spec,
            prompts=[
                pb.ApplyPipelineRequest.Prompt(prompt=name, content=content)
                for name, content in self.prompts
            ],
            validate_only=validate_only,
            allow_shared=allow_shared,
        )


def read_folder(folder: Path) -> PipelineFolder:
    """Read a folder. Raises UsageError for what it lacks, and PipelineFileInvalid."""
    path = folder / _PIPELINE
    if not path.is_file():
        raise click.UsageError(f"there is no {path}")
    file = read_pipeline(path)
    if not file.pipeline:
        raise click.UsageError(f"{path} has no key `pipeline`, which names it")
    templates = sorted((folder / _PROMPTS).glob("*.md"))
    return PipelineFolder(file, tuple((each.stem, _text(each)) for each in templates))


def changes(applied: pb.ApplyPipelineResponse) -> list[dict[str, object]]:
    """Return what became of each prompt and of the pipeline, as records to print."""
    records = [
        _record("prompt", each.prompt_version.step, each.prompt_version.version, new=each.changed)
        for each in applied.prompts
    ]
    version = applied.pipeline_version
    return [*records, _record("pipeline", version.pipeline, version.version, new=applied.created)]


async def difference(client: Client, folder: PipelineFolder, tenant_id: str) -> str:
    """Return what applying a folder would change, as a unified diff; empty when nothing would."""
    request = folder.request(tenant_id, validate_only=True, allow_shared=True)
    applied = await client.pipelines.ApplyPipeline(request)
    parts: list[str] = []
    for each in applied.prompts:
        if each.changed:
            name = each.prompt_version.step
            before = await _prompt(client, tenant_id, name, each.replaced_version)
            parts += _diff(before, each.prompt_version.content, f"{_PROMPTS}/{name}.md")
    if applied.created:
        before = await _spec(client, tenant_id, folder.file.pipeline)
        parts += _diff(before, yaml_text(applied.pipeline_version.spec), _PIPELINE)
    return "\n".join(parts)


async def _prompt(client: Client, tenant_id: str, name: str, version: int) -> str:
    if not version:
        return ""
    request = prompt_service_pb2.GetPromptVersionRequest(
        tenant_id=tenant_id, step=name, version=version
    )
    return (await client.prompts.GetPromptVersion(request)).prompt_version.content


async def _spec(client: Client, tenant_id: str, pipeline: str) -> str:
    request = pb.GetPipelineVersionRequest(tenant_id=tenant_id, pipeline=pipeline)
    try:
        found = await client.pipelines.GetPipelineVersion(request)
    except ApiError as error:
        if error.reason != _NOT_FOUND:
            raise
        return ""
    return yaml_text(found.pipeline_version.spec)


def _diff(before: str, after: str, name: str) -> Sequence[str]:
    return [
        *difflib.unified_diff(
            before.splitlines(), after.splitlines(), f"{name} now", f"{name} here", lineterm=""
        )
    ]


def _record(kind: str, name: str, version: int, *, new: bool) -> dict[str, object]:
    return {"what": kind, "name": name, "version": version, "change": "new" if new else "unchanged"}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise click.UsageError(f"{path} is no UTF-8") from None
