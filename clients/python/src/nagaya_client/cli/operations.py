"""Waiting for operations: a progress bar on the terminal, lines elsewhere."""

from __future__ import annotations

import importlib
import sys
from contextlib import aclosing, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nagaya.tenant.v1 import operation_pb2, operation_service_pb2
from nagaya_client.cli import failures, hints, values
from nagaya_client.cli.output import json_line
from nagaya_client.watch_operation import watch_operation

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextlib import AbstractContextManager

    from nagaya_client.cli.session import Session

    Show = Callable[[operation_pb2.Operation], None]

Decorated = TypeVar("Decorated", bound="Callable[..., Any]")

_RUNNING = operation_pb2.OPERATION_STATE_RUNNING
_DONE = operation_pb2.OPERATION_STATE_DONE


def no_wait_option(command: Decorated) -> Decorated:
    """Add `--no-wait` to a command that begins an operation."""
    return click.option(
        "--no-wait", is_flag=True, help="Print the operation and leave; it goes on."
    )(command)


async def finished(
    session: Session, operation: operation_pb2.Operation, *, no_wait: bool = False
) -> operation_service_pb2.GetOperationResponse:
    """Show an operation until it has ended, and return it, ready to be printed.

    With `no_wait` it is returned as it is. Raises CommandExit if it ends other than done, ApiError.
    """
    last = operation if no_wait else await watched(session, operation)
    if last.state not in (_DONE, _RUNNING):
        session.printer.show(operation_service_pb2.GetOperationResponse(operation=last))
        if last.error.message:
            click.echo(f"error: {hints.in_commands(last.error.message)}", err=True)
            click.echo(f"reason: {last.error.reason}", err=True)
            again = hints.in_commands(
                "ResumeOperation runs it again", {"operation_id": last.operation_id}
            )
            click.echo(f"hint: {again}", err=True)
        raise failures.CommandExit(failures.FAILED)
    return operation_service_pb2.GetOperationResponse(operation=last)


async def watched(session: Session, operation: operation_pb2.Operation) -> operation_pb2.Operation:
    """Show an operation until it runs no longer, and return it. Raises ApiError."""
    last = operation
    if operation.state == _RUNNING:
        stub, operation_id = session.client.operations, operation.operation_id
        with _view(session) as show:
            async with aclosing(watch_operation(stub, operation_id)) as changes:
                async for last in changes:
                    show(last)
    return last


@contextmanager
def bytes_shown(what: str) -> Generator[Callable[[int, int], None]]:
    """Show a bar while bytes are sent, fetched or verified, where a person sees it.

    Yields what is told how many of how many are done.
    """
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    # Only here, because loading rich takes as long as loading click.
    with importlib.import_module("nagaya_client.cli.byte_bar").byte_bar(what) as show:
        yield show


def describe(operation: operation_pb2.Operation) -> str:
    """Return where an operation is, in a line: its step, its progress, why it waits."""
    kind = values.name_of(operation_pb2.OperationKind, operation.kind).replace("_", " ")
    of = f" {operation.tenant_id}" if operation.tenant_id else ""
    after = f"after {operation.step}" if operation.step else "begun"
    state = values.name_of(operation_pb2.OperationState, operation.state)
    words = [f"{kind}{of}", after if operation.state == _RUNNING else state]
    if operation.HasField("progress"):
        counted = operation.progress
        total = f" of {counted.total:,}" if counted.total else ""
        words.append(f"{counted.done:,}{total} {counted.unit}")
    if operation.stuck_reason:
        words.append(f"waits: {operation.stuck_reason}")
    return ", ".join(words)


def _view(session: Session) -> AbstractContextManager[Show]:
    match session.asked_format:
        case "jsonl":
            return nullcontext(lambda operation: click.echo(json_line(operation)))
        case "json" | "yaml" | "id":
            return nullcontext(lambda _: None)
        case _ if session.on_terminal:
            # Only here, because loading rich takes as long as loading click.
            module = importlib.import_module("nagaya_client.cli.operation_bar")
            return module.operation_bar(describe)
        case _:
            return nullcontext(lambda operation: click.echo(describe(operation), err=True))
