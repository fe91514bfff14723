"""`nagaya pipeline`."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nagaya.runs.v1 import pipeline_service_pb2 as pb
from nagaya_client.cli import completion
from nagaya_client.cli.command import Group
from nagaya_client.cli.pipeline_folder import changes, difference, read_folder
from nagaya_client.cli.session import Session, api_command, limit_option, tenant_option
from nagaya_client.errors import ApiError
from nagaya_client.paging import first
from nagaya_client.pipeline_file import PipelineFile, read_pipeline

if TYPE_CHECKING:
    from collections.abc import Generator

    from google.protobuf.message import Message

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group(cls=Group)
def group() -> None:
    """Pipelines: which steps a run goes through, in versions."""


@group.command(rpcs=("ValidatePipeline",))
@click.argument("file", type=_FILE)
@tenant_option
@api_command
async def validate(session: Session, file: Path, tenant: str) -> Message:
    """Check a pipeline's YAML as `create` does, and create nothing."""
    pipeline = read_pipeline(file)
    request = pb.ValidatePipelineRequest(tenant_id=tenant, spec=pipeline.spec)
    with _located(pipeline):
        return await session.client.pipelines.ValidatePipeline(request)


@group.command(rpcs=("CreatePipelineVersion",))
@click.argument("file", type=_FILE)
@click.option("--name", help="The pipeline's name, instead of what the file says.")
@click.option("--request-id", help="The key of this creation, to repeat it without harm.")
@tenant_option
@api_command
async def create(
    session: Session, file: Path, name: str | None, request_id: str | None, tenant: str
) -> Message:
    """Create the next version of a pipeline from its YAML."""
    pipeline = read_pipeline(file)
    name = name or pipeline.pipeline
    if not name:
        raise click.UsageError(f"{file} has no key `pipeline`; --name names it")
    request = pb.CreatePipelineVersionRequest(
        tenant_id=tenant,
        request_id=request_id or str(uuid.uuid4()),
        pipeline=name,
        spec=pipeline.spec,
    )
    with _located(pipeline):
        return await session.client.pipelines.CreatePipelineVersion(request)


@group.command(rpcs=("ApplyPipeline",))
@click.argument("folder", type=_FOLDER)
@click.option("--shared", is_flag=True, help="Prompts may change that other pipelines use too.")
@tenant_option
@api_command
async def apply(session: Session, folder: Path, *, shared: bool, tenant: str) -> Message | None:
    """Create a pipeline and its prompts from a folder.

    All together or not at all. The folder holds `pipeline.yaml`, and `prompts/NAME.md` for prompts
    of its steps. What is already as the files say is left alone.
    """
    source = read_folder(folder)
    with _located(source.file):
        applied = await session.client.pipelines.ApplyPipeline(
            source.request(tenant, allow_shared=shared)
        )
    if session.asked_format in ("json", "jsonl", "yaml"):
        return applied
    session.printer.show_records(changes(applied))
    return None


@group.command(rpcs=())
@click.argument("folder", type=_FOLDER)
@tenant_option
@api_command
async def diff(session: Session, folder: Path, tenant: str) -> None:
    """Show what `apply` would change, and change nothing."""
    source = read_folder(folder)
    with _located(source.file):
        text = await difference(session.client, source, tenant)
    click.echo(text or "no difference")


@group.command(rpcs=("GetPipelineVersion",))
@click.argument("pipeline", shell_complete=completion.pipelines)
@click.option("--version", type=int, default=0, help="The newest when absent.")
@tenant_option
@api_command
async def get(session: Session, pipeline: str, version: int, tenant: str) -> Message:
    """Show one version with its steps."""
    request = pb.GetPipelineVersionRequest(tenant_id=tenant, pipeline=pipeline, version=version)
    return await session.client.pipelines.GetPipelineVersion(request)


@group.command("list", rpcs=("ListPipelineVersions",))
@click.argument("pipeline", default="", shell_complete=completion.pipelines)
@tenant_option
@limit_option
@api_command
async def list_versions(session: Session, pipeline: str, tenant: str, limit: int) -> Message:
    """List the versions of a pipeline, newest first, or of all."""
    request = pb.ListPipelineVersionsRequest(tenant_id=tenant, pipeline=pipeline)
    return await first(session.client.pipelines.ListPipelineVersions, request, limit)


@contextmanager
def _located(pipeline: PipelineFile) -> Generator[None]:
    """Tell of the server's refusals with the file's lines."""
    try:
        yield
    except ApiError as error:
        raise pipeline.located(error) or error from None
