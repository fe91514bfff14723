"""`nagaya run text`."""

from __future__ import annotations

from contextlib import aclosing

import click

from nagaya.runs.v1 import run_pb2
from nagaya_client.cli import completion, failures, values
from nagaya_client.cli.command import Command
from nagaya_client.cli.output import json_line
from nagaya_client.cli.session import Session, api_command, tenant_option


@click.command(cls=Command, rpcs=("WatchStepText",))
@click.argument("run_id", shell_complete=completion.runs)
@click.argument("step", shell_complete=completion.steps)
@click.option("--item", default=0, show_default=True, help="Which element of a map.")
@click.option("--visit", default=1, show_default=True, help="Which pass of a loop.")
@tenant_option
@api_command
async def text(
    session: Session, *, run_id: str, step: str, item: int, visit: int, tenant: str
) -> None:
    """Show a model's answer to a step, as it comes.

    A step that has not begun is waited for. When an attempt is given up, the next one's text
    begins on a new line, after a note on stderr. Exits with 1 if the step does not complete.
    """
    place = (run_id, step, item, visit)
    as_json, attempt = session.asked_format == "jsonl", 0
    done = run_pb2.RunStep()
    async with aclosing(session.client.watch_step_text(tenant, *place)) as parts:
        async for part in parts:
            if isinstance(part, run_pb2.RunStep):
                done = part
            elif as_json:
                click.echo(json_line(part))
            else:
                if attempt not in (0, part.attempt):
                    click.echo()
                    click.echo(f"attempt {attempt} was given up; this is {part.attempt}", err=True)
                attempt = part.attempt
                click.echo(part.text, nl=False)
    if attempt:
        click.echo()
    if done.state != run_pb2.STEP_STATE_COMPLETED:
        state = values.name_of(run_pb2.StepState, done.state)
        click.echo(f"the step is {state}: {done.error.message}".rstrip(": "), err=True)
        raise failures.CommandExit(failures.FAILED)
