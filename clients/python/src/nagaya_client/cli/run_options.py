"""What commands of `nagaya run` share: kinds of arguments, inputs, watching to the end."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click
from google.protobuf import json_format

from jsonvalues import NameTwice, NotJson, compact, parse_strict
from nagaya.runs.v1 import run_service_pb2 as pb
from nagaya_client.cli import catalog, failures
from nagaya_client.cli.watch_run import watch as watch_to_the_end
from nagaya_client.transfer import UploadTarget

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from nagaya.llm_gateway.v1 import model_pb2
    from nagaya_client.cli.session import Session
    from nagaya_client.client import Client

INLINE_LIMIT = 65_536
"""The most bytes of an inline input that the service takes; runs/domain/inputs.py has the same."""


class JsonFile(click.ParamType[bytes]):
    """A file that holds one JSON value, in its shortest form; `-` is standard input."""

    name = "file"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> bytes:
        try:
            with click.open_file(value, "rb") as file:
                content = parse_strict(file.read())
            return compact(content).encode()
        except NameTwice as error:
            self.fail(f"{value} has two members named {error.name[:80]!r}", param, ctx)
        except NotJson as error:
            self.fail(f"{value} cannot be used: {error}", param, ctx)
        except OSError as error:
            self.fail(f"{value} cannot be read: {error.strerror}", param, ctx)


class StepModel(click.ParamType["tuple[str, model_pb2.ModelChoice]"]):
    """`STEP=MODEL` or `STEP=PROVIDER/CLASS`."""

    name = "step=model"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, model_pb2.ModelChoice]:
        step, equals, model = value.partition("=")
        if not equals:
            self.fail(f"{value} is not STEP=MODEL", param, ctx)
        return step, catalog.choice(model)


async def supply(client: Client, tenant_id: str, run_id: str, given: bytes) -> None:
    """Upload the input of a held run."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "input.json"
        source.write_bytes(given)
        await client.upload(tenant_id, UploadTarget(run_id, "input"), source)


async def watched(session: Session, tenant_id: str, run_id: str, after: int = 0) -> None:
    """Watch a run to its end; exits with FAILED if it does not complete."""
    completed = await watch_to_the_end(session, tenant_id, run_id, after)
    if session.asked_format in ("json", "yaml"):
        request = pb.GetRunRequest(tenant_id=tenant_id, run_id=run_id)
        session.printer.show(await session.client.runs.GetRun(request))
    if not completed:
        raise failures.CommandExit(failures.FAILED)


def parse_into(given: bytes, message: Message) -> None:
    """Fill a message from its JSON. Raises UsageError."""
    try:
        json_format.Parse(given, message)
    except json_format.ParseError as error:
        raise click.UsageError(f"the JSON cannot be sent: {error}") from None
