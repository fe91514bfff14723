"""Options, client and printer, which all commands share."""

from __future__ import annotations

import asyncio
import functools
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

import click

from nagaya_client.cli import completion, values
from nagaya_client.cli.command import FORMATS, output_options
from nagaya_client.cli.output import Printer
from nagaya_client.client import Client
from nagaya_client.settings import SERVICES, Settings, read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from google.protobuf.message import Message

P = ParamSpec("P")
Decorated = TypeVar("Decorated", bound="Callable[..., Any]")


@dataclass(frozen=True, slots=True)
class Session:
    """What a command works with: the client, the settings, and the printer of its answer."""

    client: Client
    settings: Settings
    printer: Printer
    asked_format: str | None
    """The format that the caller asked for; None when it was left to the command."""

    @property
    def on_terminal(self) -> bool:
        """Whether what is printed is seen by a person as it comes."""
        return sys.stdout.isatty()


def api_command(
    call: Callable[Concatenate[Session, P], Coroutine[Any, Any, Message | None]],
) -> Callable[..., None]:
    """Make a command's callback of a coroutine: the message that it returns is printed.

    A `tenant` that is not given is that of the settings.
    """

    asked = cast("Callable[..., Coroutine[Any, Any, Message | None]]", call)

    @functools.wraps(call)
    def command(**own: Any) -> None:  # noqa: ANN401 - whatever the command's options are
        output: str | None = own.pop("output")
        printer = Printer(output or FORMATS[0], headers=not own.pop("no_headers"))
        settings = _settings(own)

        async def connected() -> Message | None:
            async with Client.connect(settings) as client:
                return await asked(Session(client, settings, printer, output), **own)

        response = asyncio.run(connected())
        if response is not None:
            printer.show(response)

    return output_options(_connection_options(command))


def tenant_option(command: Decorated) -> Decorated:
    """Add `--tenant` to a command."""
    return click.option(
        "-t",
        "--tenant",
        metavar="ID",
        shell_complete=completion.tenants,
        help="The tenant; that of NAGAYA_TENANT or the profile when absent.",
    )(command)


def limit_option(command: Decorated) -> Decorated:
    """Add `--limit` to a command."""
    return click.option(
        "--limit",
        type=click.IntRange(1),
        metavar="COUNT",
        default=50,
        show_default=True,
        help="How many to show at most.",
    )(command)


def labels(given: Iterable[str]) -> dict[str, str]:
    """Return the labels that `NAME=VALUE` options give."""
    pairs = [text.partition("=") for text in given]
    for name, equals, value in pairs:
        if not (name and equals and value):
            raise click.UsageError(f"{name}{equals}{value} is not NAME=VALUE")
    return {name: value for name, _, value in pairs}


def choice_of(enum: values.Enum[values.NumberT]) -> click.Choice[str]:
    """Return the values of an enum as a person writes them: `failed` for CALL_STATE_FAILED."""
    names = (values.name_of(enum, number) for number in enum.values())
    return click.Choice([name for name in names if name])


def chosen(enum: values.Enum[values.NumberT], name: str | None) -> values.NumberT:
    """Return the value that a person has chosen; the unspecified one for None."""
    return next(n for n in enum.values() if values.name_of(enum, n) == (name or ""))


def _connection_options(command: Decorated) -> Decorated:
    for option in (
        click.option("--profile", metavar="NAME", help="A profile of config.toml."),
        click.option(
            "--address",
            "addresses",
            metavar="[SERVICE=]HOST:PORT",
            multiple=True,
            help=f"Where Nagaya is: one for all, or for each of {', '.join(SERVICES)}.",
        ),
        click.option("--token-file", metavar="FILE", help="The file that holds your token."),
        click.option(
            "--timeout",
            type=click.FloatRange(0, min_open=True),
            metavar="SECONDS",
            help="How long one call may take.",
        ),
    ):
        command = option(command)
    return command


def _settings(options: dict[str, Any]) -> Settings:
    """Take the options that say where and who out of `options`, and fill in the tenant."""
    flags: dict[str, str] = {name: options.pop(name) or "" for name in ("profile", "token_file")}
    for given in options.pop("addresses"):
        service, equals, address = given.rpartition("=")
        if equals and service.replace("-", "_") not in SERVICES:
            raise click.UsageError(f"{service} is none of {', '.join(SERVICES)}")
        flags[f"{service.replace('-', '_')}_address" if equals else "address"] = address
    settings = read_settings(flags)
    if "tenant" in options:
        options["tenant"] = options["tenant"] or settings.tenant
        if not options["tenant"]:
            raise click.UsageError("which tenant? --tenant names it, or NAGAYA_TENANT")
    return replace(settings, timeout_seconds=options.pop("timeout"))
