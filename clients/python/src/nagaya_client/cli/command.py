"""Commands that say which calls they make, and tell what goes wrong."""

from __future__ import annotations

from typing import Any

import click

from nagaya_client.cli import failures
from nagaya_client.errors import NagayaError


class Command(click.Command):
    """A command; a hint that names one of its `rpcs` is told as this command."""

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
            # Told here, where it is known what the command was given.
            raise failures.Ended(failures.report(error)) from None


class Group(click.Group):
    """A group of such commands."""

    command_class = Command
