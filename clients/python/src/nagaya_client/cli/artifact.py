"""`nagaya artifact`."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nagaya.artifacts.v1 import artifact_service_pb2 as pb
from nagaya_client.cli import completion, failures
from nagaya_client.cli.command import Group
from nagaya_client.cli.session import Session, api_command, limit_option, tenant_option
from nagaya_client.errors import ApiError, BytesCorrupt
from nagaya_client.paging import first, pages
from nagaya_client.transfer import UploadTarget

if TYPE_CHECKING:
    from google.protobuf.message import Message

_FILE = click.Path(dir_okay=False, path_type=Path)
_OWNER = click.option(
    "-t",
    "--tenant",
    "owner",
    metavar="ID",
    help="Whose it is; absent, the tenant that the path names. A tenant that was imported or "
    "cloned under another id keeps its paths.",
)


@click.group(cls=Group)
def group() -> None:
    """The files that runs leave behind."""


@group.command("list", rpcs=("ListArtifacts",))
@click.argument("run_id", shell_complete=completion.runs)
@click.option("--step", default="", shell_complete=completion.steps, help="Only this step's files.")
@tenant_option
@limit_option
@api_command
async def list_artifacts(
    session: Session, run_id: str, step: str, tenant: str, limit: int
) -> Message:
    """List a run's files, by path."""
    request = pb.ListArtifactsRequest(tenant_id=tenant, run_id=run_id, step=step)
    return await first(session.client.artifacts.ListArtifacts, request, limit)


@group.command(rpcs=("GetArtifact",))
@click.argument("path")
@click.option("--to", "target", type=_FILE, help="Fetch the file, verified, to here.")
@_OWNER
@api_command
async def get(session: Session, path: str, target: Path | None, owner: str | None) -> Message:
    """Show what is known of a file; with --to fetch it too."""
    tenant_id = owner or tenant_of(path)
    if target is not None:
        artifact = await session.client.download(tenant_id, path, target)
        return pb.GetArtifactResponse(artifact=artifact)
    request = pb.GetArtifactRequest(tenant_id=tenant_id, path=path)
    return await session.client.artifacts.GetArtifact(request)


@group.command(rpcs=("CreateUpload", "UploadArtifact"))
@click.argument("source", metavar="FILE", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--run",
    "run_id",
    required=True,
    shell_complete=completion.runs,
    help="The run that it belongs to.",
)
@click.option(
    "--step", default="input", show_default=True, help="People write there, while the run is held."
)
@click.option("--name", help="`output.json` or `artifacts/...`; artifacts/FILE when absent.")
@click.option("--file-type", default="application/json", show_default=True, help="Its media type.")
@click.option("--summary", default="", help="A short fact about it; counted when absent.")
@tenant_option
@api_command
async def put(
    session: Session,
    *,
    source: Path,
    run_id: str,
    step: str,
    name: str | None,
    file_type: str,
    summary: str,
    tenant: str,
) -> Message:
    """Commit a file; its sha256 is checked on both sides.

    People write into runs that are held, as step `input`: `nagaya run start --hold` creates such
    a run, `nagaya run release` starts it. The file `output.json` is the run's input.
    """
    name = name or f"artifacts/{source.name}"
    place = UploadTarget(run_id, step, name, file_type=file_type, summary=summary)
    artifact = await session.client.upload(tenant, place, source)
    return pb.GetArtifactResponse(artifact=artifact)


@group.command(rpcs=("DownloadArtifact",))
@click.argument("path")
@click.option("-r", "--raw", is_flag=True, help="A JSON string as the text that it is.")
@_OWNER
@api_command
async def cat(session: Session, path: str, *, raw: bool, owner: str | None) -> None:
    """Write a file to standard output; fails if its sha256 is another."""
    out = sys.stdout.buffer
    reading = session.client.read(owner or tenant_of(path), path)
    whole, chunk = bytearray(), b""
    async with aclosing(reading.chunks()) as chunks:
        async for chunk in chunks:
            if raw:
                whole += chunk
            else:
                await asyncio.to_thread(out.write, chunk)
    text = _as_text(whole)
    out.write(text)
    if session.on_terminal and not (text or chunk).endswith(b"\n"):
        out.write(b"\n")  # the next prompt stands on a line of its own
    out.flush()


@group.command()
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.option("--run", "run_id", shell_complete=completion.runs, help="All files of this run.")
@click.option("--sha256", help="What the one file must have, beside its own record.")
@_OWNER
@api_command
async def verify(
    session: Session,
    paths: tuple[str, ...],
    run_id: str | None,
    sha256: str | None,
    owner: str | None,
) -> None:
    """Fetch files and compare their bytes with their sha256.

    Exits with 1 when no file is as it should be, and with 7 when some are.
    """
    if sha256 and (len(paths) != 1 or run_id):
        raise click.UsageError("--sha256 is for one PATH")
    listed = await _paths_of_run(session, owner, run_id) if run_id else []
    given = owner if run_id is None else owner or session.settings.tenant
    found = [await _verdict(session, path, sha256, given) for path in (*paths, *listed)]
    if not found:
        raise click.UsageError("which files? Name paths, or --run")
    session.printer.show_records(found)
    good = sum(record["verdict"] == "ok" for record in found)
    if good < len(found):
        raise failures.CommandExit(failures.PARTIAL if good else failures.FAILED)


def _as_text(content: bytes | bytearray) -> bytes:
    """Return the text of a JSON string; what is none stays as it is."""
    try:
        value = json.loads(content)
    except ValueError:
        return bytes(content)
    return f"{value}\n".encode() if isinstance(value, str) else bytes(content)


async def _verdict(
    session: Session, path: str, sha256: str | None, owner: str | None
) -> dict[str, object]:
    reading = session.client.read(owner or tenant_of(path), path)
    verdict = "ok"
    try:
        async with aclosing(reading.chunks()) as chunks:
            async for _ in chunks:
                pass
        if sha256 and sha256.lower() != reading.digest:
            verdict = "not the sha256 that was asked for"
    except BytesCorrupt:
        verdict = "corrupt"
    except ApiError as error:
        verdict = error.reason.removeprefix("ERROR_REASON_").lower() or error.code.name.lower()
    return {"path": path, "sha256": reading.digest, "bytes": reading.size, "verdict": verdict}


async def _paths_of_run(session: Session, tenant: str | None, run_id: str) -> list[str]:
    tenant = tenant or session.settings.tenant
    if not tenant:
        raise click.UsageError("whose run? --tenant names it")
    request = pb.ListArtifactsRequest(tenant_id=tenant, run_id=run_id, page_size=200)
    listing = pages(session.client.artifacts.ListArtifacts, request)
    return [artifact.path async for page in listing for artifact in page.artifacts]


def tenant_of(path: str) -> str:
    """The tenant that a path names: `storage/{tenant_id}/...`. Raises UsageError."""
    parts = path.split("/")
    if len(parts) < 5 or not parts[1]:
        raise click.UsageError(f"{path} is not storage/TENANT/RUN/STEP/NAME")
    return parts[1]
