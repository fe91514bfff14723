"""`nagaya run fork`."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import click

from jsonvalues import exact_in_protobuf, parse
from nagaya.runs.v1 import run_service_pb2 as pb
from nagaya_client.cli import completion, hints
from nagaya_client.cli.command import Command
from nagaya_client.cli.run_options import (
    INLINE_LIMIT,
    JsonFile,
    StepModel,
    parse_into,
    supply,
    watched,
)
from nagaya_client.cli.session import Session, api_command, tenant_option

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from nagaya.llm_gateway.v1 import model_pb2
    from nagaya.runs.v1 import run_pb2
    from nagaya_client.client import Client

_ACTIVE = "active"


class StepPrompt(click.ParamType["tuple[str, int]"]):
    """`STEP=VERSION` or `STEP=active`."""

    name = "step=version"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        step, equals, version = value.partition("=")
        if equals and version == _ACTIVE:
            return step, 0
        if not (equals and version.isdecimal() and int(version)):
            self.fail(f"{value} is neither STEP=VERSION nor STEP={_ACTIVE}", param, ctx)
        return step, int(version)


@click.command(cls=Command, rpcs=("ForkRun",))
@click.argument("run_id", shell_complete=completion.runs)
@click.option(
    "--step", default="", shell_complete=completion.steps, help="The first step that is done again."
)
@click.option("--item", "items", type=click.IntRange(1), multiple=True, help="Of it, only these.")
@click.option("--prompt", "prompts", type=StepPrompt(), multiple=True, help="Another version.")
@click.option("--model", "models", type=StepModel(), multiple=True, help="Only for this run.")
@click.option("-i", "--input", "given", type=JsonFile(), help="Another input.")
@click.option("--version", type=int, default=0, help="Of the pipeline; the run's when absent.")
@click.option("--request-id", help="The key of this creation, to repeat it without harm.")
@click.option("--wait", is_flag=True, help="Watch it; exits with 1 if it does not complete.")
@tenant_option
@api_command
async def fork(
    session: Session,
    *,
    run_id: str,
    step: str,
    items: tuple[int, ...],
    prompts: tuple[tuple[str, int], ...],
    models: tuple[tuple[str, model_pb2.ModelChoice], ...],
    given: bytes | None,
    version: int,
    request_id: str | None,
    wait: bool,
    tenant: str,
) -> Message | None:
    """Start a run that takes over what another one has done.

    Done again is what the options change and what is behind it: --step names a step, --prompt
    STEP=VERSION (or STEP=active) another prompt, --model STEP=MODEL another model. Everything else
    is copied and costs nothing.
    """
    request = pb.ForkRunRequest(
        tenant_id=tenant,
        request_id=request_id or str(uuid.uuid4()),
        run_id=run_id,
        from_step=step,
        items=items,
        pipeline_version=version,
        prompt_versions=dict(prompts),
    )
    for name, choice in models:
        request.step_models[name].CopyFrom(choice)
    run = await _create(session.client, request, given)
    if wait:
        return await watched(session, tenant, run.run_id)
    if session.on_terminal:
        click.echo(hints.in_commands("WatchRun shows it", {"run_id": run.run_id}), err=True)
    return pb.ForkRunResponse(run=run)


async def _create(client: Client, request: pb.ForkRunRequest, given: bytes | None) -> run_pb2.Run:
    """Create the fork; an input that is too large for the request is uploaded."""
    if given is not None and len(given) > INLINE_LIMIT:
        request.hold = True
    elif given is not None and exact_in_protobuf(parse(given)):
        parse_into(given, request.inline)
    elif given is not None:
        request.inline_json = given.decode()
    run = (await client.runs.ForkRun(request)).run
    if given is None or not request.hold:
        return run
    await supply(client, request.tenant_id, run.run_id, given)
    started = pb.StartRunRequest(tenant_id=request.tenant_id, run_id=run.run_id)
    return (await client.runs.StartRun(started)).run
