"""A progress bar of an operation on the terminal. Loads rich."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from nagaya.tenant.v1 import operation_pb2


@contextmanager
def operation_bar(
    describe: Callable[[operation_pb2.Operation], str],
) -> Generator[Callable[[operation_pb2.Operation], None]]:
    """Draw an operation until the block ends; yield what is called with it as it changes."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True, highlight=False)) as bar:
        task = bar.add_task("", total=None)

        def show(operation: operation_pb2.Operation) -> None:
            counted = operation.progress
            known = operation.HasField("progress") and counted.total > 0
            bar.update(
                task,
                description=describe(operation),
                total=counted.total if known else None,
                completed=counted.done,
            )

        yield show
