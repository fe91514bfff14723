"""`nagaya prompt`."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import click

from nagaya.runs.v1 import prompt_service_pb2 as pb
from nagaya_client.cli.command import Group
from nagaya_client.cli.session import Session, api_command, limit_option, tenant_option
from nagaya_client.paging import first

if TYPE_CHECKING:
    from google.protobuf.message import Message


class Text(click.ParamType[str]):
    """A file's text; `-` is standard input. Read before anything waits, so that Ctrl-C counts."""

    name = "file"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            with click.open_file(value, encoding="utf-8") as file:
                return file.read()
        except UnicodeDecodeError:
            self.fail(f"{value} is no UTF-8", param, ctx)
        except OSError as error:
            self.fail(f"{value} cannot be read: {error.strerror}", param, ctx)


@click.group(cls=Group)
def group() -> None:
    """Prompts: what a step sends to its model, in versions."""


@group.command(rpcs=("CreatePromptVersion",))
@click.argument("step")
@click.option(
    "-f",
    "--file",
    "content",
    type=Text(),
    default="-",
    help="The template; standard input when absent.",
)
@click.option("--activate", is_flag=True, help="Make the new version the active one.")
@click.option("--request-id", help="The key of this creation, to repeat it without harm.")
@tenant_option
@api_command
async def create(
    session: Session,
    *,
    step: str,
    content: str,
    activate: bool,
    request_id: str | None,
    tenant: str,
) -> Message:
    """Create the next version of a step's prompt."""
    created = await session.client.prompts.CreatePromptVersion(
        pb.CreatePromptVersionRequest(
            tenant_id=tenant,
            request_id=request_id or str(uuid.uuid4()),
            step=step,
            content=content,
        )
    )
    if not activate:
        return created
    return await _activate(session, tenant, step, created.prompt_version.version)


@group.command(rpcs=("GetPromptVersion",))
@click.argument("step")
@click.argument("version", type=int)
@tenant_option
@api_command
async def get(session: Session, step: str, version: int, tenant: str) -> Message:
    """Show one version with its text."""
    request = pb.GetPromptVersionRequest(tenant_id=tenant, step=step, version=version)
    return await session.client.prompts.GetPromptVersion(request)


@group.command("list", rpcs=("ListPromptVersions",))
@click.argument("step")
@tenant_option
@limit_option
@api_command
async def list_versions(session: Session, step: str, tenant: str, limit: int) -> Message:
    """List the versions of a step's prompt, newest first."""
    request = pb.ListPromptVersionsRequest(tenant_id=tenant, step=step)
    return await first(session.client.prompts.ListPromptVersions, request, limit)


@group.command(rpcs=("ActivatePromptVersion",))
@click.argument("step")
@click.argument("version", type=int)
@tenant_option
@api_command
async def activate(session: Session, step: str, version: int, tenant: str) -> Message:
    """Make a version the one that new runs use."""
    return await _activate(session, tenant, step, version)


async def _activate(session: Session, tenant: str, step: str, version: int) -> Message:
    request = pb.ActivatePromptVersionRequest(tenant_id=tenant, step=step, version=version)
    return await session.client.prompts.ActivatePromptVersion(request)
