"""`nagaya call`."""

from __future__ import annotations

import functools
import json
import sys
from typing import TYPE_CHECKING, TypedDict, TypeVar, Unpack

import click

from nagaya.llm_gateway.v1 import call_pb2
from nagaya.llm_gateway.v1 import call_service_pb2 as pb
from nagaya_client.cli import completion
from nagaya_client.cli.command import Group
from nagaya_client.cli.session import (
    Session,
    api_command,
    choice_of,
    chosen,
    limit_option,
    tenant_option,
)
from nagaya_client.paging import first

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

C = TypeVar("C", bound="Callable[..., object]")


class _Key(TypedDict):
    run_id: str
    step: str
    item: int
    visit: int
    call: int


def _key_options(command: C) -> C:
    """Add the arguments and options that make a call's key."""
    parameters = (
        click.argument("run_id", shell_complete=completion.runs),
        click.argument("step", shell_complete=completion.steps),
        click.option("--item", default=0, show_default=True, help="Which element of a map."),
        click.option("--visit", default=1, show_default=True, help="Which pass of a loop."),
        click.option(
            "--call", default=1, show_default=True, help="Which call of this piece of work."
        ),
    )
    return functools.reduce(lambda made, add: add(made), reversed(parameters), command)


@click.group(cls=Group)
def group() -> None:
    """The ledger of calls to models."""


@group.command("list", rpcs=("ListCalls",))
@click.option(
    "--run", "run_id", default="", shell_complete=completion.runs, help="Only calls of this run."
)
@click.option("--state", type=choice_of(call_pb2.CallState), help="Only calls in this state.")
@tenant_option
@limit_option
@api_command
async def list_calls(
    session: Session, run_id: str, state: str | None, tenant: str, limit: int
) -> Message:
    """List calls with their attempts, oldest first."""
    request = pb.ListCallsRequest(
        tenant_id=tenant, run_id=run_id, state=chosen(call_pb2.CallState, state)
    )
    return await first(session.client.calls.ListCalls, request, limit)


@group.command(rpcs=("GetCall",))
@_key_options
@tenant_option
@api_command
async def get(session: Session, *, tenant: str, **key: Unpack[_Key]) -> Message:
    """Show one call with its attempts."""
    request = pb.GetCallRequest(tenant_id=tenant, key=call_pb2.CallKey(**key))
    return await session.client.calls.GetCall(request)


@group.command(rpcs=("GetReply",))
@_key_options
@click.option("-r", "--raw", is_flag=True, help="Only the model's text, or its JSON.")
@tenant_option
@api_command
async def reply(session: Session, *, raw: bool, tenant: str, **key: Unpack[_Key]) -> None:
    """Write a reply to standard output.

    Its sha256 is compared with the call's, and nothing is written if it is another.
    """
    body = await session.client.reply(tenant, call_pb2.CallKey(**key))
    out = sys.stdout.buffer
    out.write(_content(body) if raw else body)
    out.flush()


def _content(body: bytes) -> bytes:
    content = json.loads(body)["content"]
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    return f"{text}\n".encode()
