"""`nagaya prompt`."""

from __future__ import annotations

import difflib
import uuid
from typing import TYPE_CHECKING

import click

from nagaya.runs.v1 import prompt_service_pb2 as pb
from nagaya_client.cli import completion
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


class Value(click.ParamType["tuple[str, str]"]):
    """`NAME=TEXT`, or `NAME=@FILE` for the text of a file."""

    name = "name=text"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        name, equals, text = value.partition("=")
        if not equals:
            self.fail(f"{value} is not NAME=TEXT", param, ctx)
        return name, Text().convert(text[1:], param, ctx) if text.startswith("@") else text


@click.group(cls=Group)
def group() -> None:
    """Prompts: what a step sends to its model, in versions."""


@group.command(rpcs=("CreatePromptVersion",))
@click.argument("prompt", shell_complete=completion.prompts)
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
    prompt: str,
    content: str,
    activate: bool,
    request_id: str | None,
    tenant: str,
) -> Message:
    """Create the next version of a prompt."""
    created = await session.client.prompts.CreatePromptVersion(
        pb.CreatePromptVersionRequest(
            tenant_id=tenant,
            request_id=request_id or str(uuid.uuid4()),
            step=prompt,
            content=content,
        )
    )
    if not activate:
        return created
    return await _activate(session, tenant, prompt, created.prompt_version.version)


@group.command(rpcs=("GetPromptVersion",))
@click.argument("prompt", shell_complete=completion.prompts)
@click.argument("version", type=int, default=0)
@click.option("--label", default="", help="The version that has this label.")
@tenant_option
@api_command
async def get(session: Session, prompt: str, version: int, label: str, tenant: str) -> Message:
    """Show one version with its text, or the active one."""
    request = pb.GetPromptVersionRequest(
        tenant_id=tenant, step=prompt, version=version, label=label
    )
    return await session.client.prompts.GetPromptVersion(request)


@group.command("list", rpcs=("ListPromptVersions",))
@click.argument("prompt", default="", shell_complete=completion.prompts)
@tenant_option
@limit_option
@api_command
async def list_versions(session: Session, prompt: str, tenant: str, limit: int) -> Message:
    """List the versions of a prompt, newest first, or of all."""
    request = pb.ListPromptVersionsRequest(tenant_id=tenant, step=prompt)
    return await first(session.client.prompts.ListPromptVersions, request, limit)


@group.command(rpcs=("ActivatePromptVersion",))
@click.argument("prompt", shell_complete=completion.prompts)
@click.argument("version", type=int)
@tenant_option
@api_command
async def activate(session: Session, prompt: str, version: int, tenant: str) -> Message:
    """Make a version the one that new runs use."""
    return await _activate(session, tenant, prompt, version)


@group.command(rpcs=("SetPromptLabel",))
@click.argument("prompt", shell_complete=completion.prompts)
@click.argument("label")
@click.argument("version", type=click.IntRange(0))
@tenant_option
@api_command
async def label(session: Session, *, prompt: str, label: str, version: int, tenant: str) -> Message:
    """Set a label, such as canary, to a version; 0 removes it."""
    response = await session.client.prompts.SetPromptLabel(
        pb.SetPromptLabelRequest(tenant_id=tenant, step=prompt, label=label, version=version)
    )
    return _with_uses(session, response)


@group.command(rpcs=())
@click.argument("prompt", shell_complete=completion.prompts)
@click.argument("old", type=click.IntRange(1))
@click.argument("new", type=click.IntRange(1), required=False)
@tenant_option
@api_command
async def diff(session: Session, prompt: str, old: int, new: int | None, tenant: str) -> None:
    """Show what differs between two versions.

    The second is the active one when absent.
    """
    texts: list[list[str]] = []
    names: list[str] = []
    for version in (old, new or 0):
        request = pb.GetPromptVersionRequest(tenant_id=tenant, step=prompt, version=version)
        found = (await session.client.prompts.GetPromptVersion(request)).prompt_version
        texts.append(found.content.splitlines())
        names.append(f"{prompt} version {found.version}")
    lines = difflib.unified_diff(texts[0], texts[1], names[0], names[1], lineterm="")
    click.echo("\n".join(lines) or "no difference")


@group.command(rpcs=("RenderPrompt",))
@click.argument("prompt", shell_complete=completion.prompts)
@click.option("--version", type=int, default=0, help="The active one when absent.")
@click.option("--label", default="", help="The version that has this label.")
@click.option("-f", "--file", "content", type=Text(), default=None, help="A template instead.")
@click.option("-v", "--value", "values", type=Value(), multiple=True, help="@FILE for a file's.")
@tenant_option
@api_command
async def test(
    session: Session,
    *,
    prompt: str,
    version: int,
    label: str,
    content: str | None,
    values: tuple[tuple[str, str], ...],
    tenant: str,
) -> Message | None:
    """Show what a model would be sent, without asking one.

    Nothing is spent. Values are texts for the variables: `--value topic=cranes`,
    `--value brief=@brief.txt`.
    """
    request = pb.RenderPromptRequest(
        tenant_id=tenant,
        step=prompt,
        version=version,
        label=label,
        content=content or "",
        values=dict(values),
    )
    response = await session.client.prompts.RenderPrompt(request)
    if session.asked_format in ("json", "jsonl", "yaml"):
        return response
    click.echo(response.text)
    return None


async def _activate(session: Session, tenant: str, prompt: str, version: int) -> Message:
    request = pb.ActivatePromptVersionRequest(tenant_id=tenant, step=prompt, version=version)
    return _with_uses(session, await session.client.prompts.ActivatePromptVersion(request))


def _with_uses(
    session: Session, response: pb.ActivatePromptVersionResponse | pb.SetPromptLabelResponse
) -> Message:
    """Return what is printed; for people, who uses the version is said beside it."""
    if session.asked_format in ("json", "jsonl", "yaml"):
        return response
    if response.uses:
        names = ", ".join(f"{use.pipeline} (step {use.step})" for use in response.uses)
        click.echo(f"new runs of these pipelines use it: {names}", err=True)
    return pb.GetPromptVersionResponse(prompt_version=response.prompt_version)
