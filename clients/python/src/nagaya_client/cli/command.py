"""Commands that declare which methods they call; their errors are reported with hints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from nagaya_client.cli import failures
from nagaya_client.errors import NagayaError

if TYPE_CHECKING:
    from collections.abc import Callable

Decorated = TypeVar("Decorated", bound="Callable[..., Any]")

FORMATS = ("table", "json", "jsonl", "yaml", "id")
"""How answers are printed; the first is the default."""


class Command(click.Command):
    """A command; a hint that names one of its `rpcs` is shown as this command."""

    def __init__(
        self,
        *arguments: Any,  # noqa: ANN401 - click's own
        rpcs: tuple[str, ...] = (),
        **options: Any,  # noqa: ANN401 - click's own
    ) -> None:
        super().__init__(*arguments, **options)
        self.rpcs = rpcs

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except NagayaError as error:
            # Reported here, where the command's arguments are known.
            raise failures.CommandExit(failures.report(error)) from None


class Group(click.Group):
    """A group of such commands."""

    command_class = Command


def output_options(command: Decorated) -> Decorated:
    """Add `--output` and `--no-headers` to a command."""
    form = click.option("-o", "--output", type=click.Choice(FORMATS), help="Default: table.")
    headers = click.option("--no-headers", is_flag=True, help="Tables without their first line.")
    return form(headers(command))
