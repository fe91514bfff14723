"""`nagaya run`."""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from jsonvalues import exact_in_protobuf, parse
from nagaya.runs.v1 import run_service_pb2 as pb
from nagaya_client.cli import completion, hints
from nagaya_client.cli.command import Group
from nagaya_client.cli.run_export import export
from nagaya_client.cli.run_fork import fork
from nagaya_client.cli.run_lists import list_runs, steps, timeline
from nagaya_client.cli.run_options import (
    INLINE_LIMIT,
    JsonFile,
    StepModel,
    parse_into,
    supply,
    watched,
)
from nagaya_client.cli.run_steering import bulk, cancel, pause, resume, retry
from nagaya_client.cli.run_text import text
from nagaya_client.cli.session import Session, api_command, labels, tenant_option
from nagaya_client.errors import ApiError

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from nagaya.llm_gateway.v1 import model_pb2
    from nagaya.runs.v1 import run_pb2
    from nagaya_client.client import Client

_STARTED = "WatchRun shows it"
_HELD = "UploadArtifact gives it files, StartRun starts it"


@click.group(cls=Group)
def group() -> None:
    """Runs: start, watch, look at, pause, cancel, retry."""


@group.command(rpcs=("CreateRun",))
@click.argument("pipeline", shell_complete=completion.pipelines)
@click.option("-i", "--input", "given", type=JsonFile(), help="What it is given.")
@click.option("--version", type=int, default=0, help="Of the pipeline; the newest when absent.")
@click.option("--model", "models", type=StepModel(), multiple=True, help="Only for this run.")
@click.option("--config", type=JsonFile(), help="A JSON object to keep with the run.")
@click.option(
    "--label",
    "given_labels",
    metavar="NAME=VALUE",
    multiple=True,
    help="What to find it by: `run list --label`.",
)
@click.option("--request-id", help="The key of this creation, to repeat it without harm.")
@click.option("--hold", is_flag=True, help="It waits for files, and for `run release`.")
@click.option("--wait", is_flag=True, help="Watch it; exits with 1 if it does not complete.")
@tenant_option
@api_command
async def start(
    session: Session,
    *,
    pipeline: str,
    given: bytes | None,
    version: int,
    models: tuple[tuple[str, model_pb2.ModelChoice], ...],
    config: bytes | None,
    given_labels: tuple[str, ...],
    request_id: str | None,
    hold: bool,
    wait: bool,
    tenant: str,
) -> Message | None:
    """Start a run of a pipeline.

    An input over 64 KiB is uploaded as a file. With --hold the run is created and waits:
    `nagaya artifact put` gives it files, as step `input`, and `nagaya run release` starts it.
    """
    if given is None and not hold:
        raise click.UsageError("what is it given? --input names a file, --hold lets it wait")
    if wait and hold:
        raise click.UsageError("a run that is held does not end: --wait and --hold exclude another")
    request = pb.CreateRunRequest(
        tenant_id=tenant,
        request_id=request_id or str(uuid.uuid4()),
        pipeline=pipeline,
        pipeline_version=version,
        labels=labels(given_labels),
    )
    _set_config(request, config)
    for step, choice in models:
        request.step_models[step].CopyFrom(choice)
    run = await _create(session.client, request, given, held=hold, repeatable=bool(request_id))
    if wait:
        return await watched(session, tenant, run.run_id)
    if session.on_terminal:
        goes_on = _HELD if hold else _STARTED
        click.echo(hints.in_commands(goes_on, {"run_id": run.run_id}), err=True)
    return pb.CreateRunResponse(run=run)


@group.command(rpcs=("StartRun",))
@click.argument("run_id", shell_complete=completion.runs)
@click.option("--wait", is_flag=True, help="Watch it; exits with 1 if it does not complete.")
@tenant_option
@api_command
async def release(session: Session, run_id: str, *, wait: bool, tenant: str) -> Message | None:
    """Start a run that was held; nobody can give it files after that."""
    request = pb.StartRunRequest(tenant_id=tenant, run_id=run_id)
    response = await session.client.runs.StartRun(request)
    if wait:
        return await watched(session, tenant, run_id)
    return response


@group.command(rpcs=("GetRun",))
@click.argument("run_id", shell_complete=completion.runs)
@tenant_option
@api_command
async def get(session: Session, run_id: str, tenant: str) -> Message:
    """Show one run."""
    return await session.client.runs.GetRun(pb.GetRunRequest(tenant_id=tenant, run_id=run_id))


@group.command(rpcs=("WatchRun",))
@click.argument("run_id", shell_complete=completion.runs)
@click.option("--after", type=click.IntRange(0), default=0, help="The last event you have seen.")
@tenant_option
@api_command
async def watch(session: Session, run_id: str, after: int, tenant: str) -> Message | None:
    """Watch a run to its end, across broken connections.

    On a terminal as a table; piped, one RunEvent a line as JSON. Exits with 1 if the run does not
    complete.
    """
    return await watched(session, tenant, run_id, after)


for _command in (
    *(list_runs, steps, timeline, text, export),
    *(fork, pause, resume, cancel, retry, bulk),
):
    group.add_command(_command)


async def _create(
    client: Client,
    request: pb.CreateRunRequest,
    given: bytes | None,
    *,
    held: bool,
    repeatable: bool,
) -> run_pb2.Run:
    if given is not None and len(given) <= INLINE_LIMIT and not held:
        if exact_in_protobuf(parse(given)):
            parse_into(given, request.inline)
        else:
            request.inline_json = given.decode()
        return (await client.runs.CreateRun(request)).run
    request.hold = True
    run = (await client.runs.CreateRun(request)).run
    if given is None:
        return run
    try:
        await supply(client, request.tenant_id, run.run_id, given)
        if held:
            return run
        started = pb.StartRunRequest(tenant_id=request.tenant_id, run_id=run.run_id)
        return (await client.runs.StartRun(started)).run
    except BaseException:  # Ctrl-C as well
        if not repeatable:  # then nobody can go on with it
            cancelled = pb.CancelRunRequest(tenant_id=request.tenant_id, run_id=run.run_id)
            with suppress(ApiError):
                await client.runs.CancelRun(cancelled)
        raise


def _set_config(request: pb.CreateRunRequest, given: bytes | None) -> None:
    if given is None:
        return
    if not given.startswith(b"{"):
        raise click.UsageError("--config is not a JSON object")
    if exact_in_protobuf(parse(given)):
        parse_into(given, request.config)
    else:
        request.config_json = given.decode()
