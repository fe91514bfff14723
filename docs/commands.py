"""docs/reference/commands.md: every command of `nagaya`, from what its `--help` is made of."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import click
from docs.tables import table

from nagaya_client.cli.main import nagaya, summaries

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_COMMON = (
    ("--output", "--no-headers"),
    ("--address", "--token-file", "--profile", "--timeout"),
    ("--tenant",),
    ("--limit",),
)
"""The options of many commands, shown once; each is named by its long form."""
_HEAD = """\
# Commands

Made by `make docs` from the commands themselves; `nagaya COMMAND --help` shows the same.
[The page of the client](../../clients/python/README.md#command-line) tells how `nagaya` finds its
services and your token, what it prints, and what its exit codes mean.

Many commands have these options; the tables below leave them out.
"""


def page() -> str:
    """Return the text of docs/reference/commands.md."""
    context = click.Context(nagaya, info_name="nagaya")
    groups = {name: nagaya.get_command(context, name) for name in nagaya.list_commands(context)}
    parts = [_HEAD, _common(context, groups.values())]
    for name, summary in summaries().items():
        parts.append(f"## nagaya {name}\n\n{summary}\n")
        found = groups[name]
        inner = click.Context(found, info_name=name, parent=context) if found else context
        if isinstance(found, click.Group):
            parts += _group(found, inner)
        elif found:
            parts.append(_usage(found, inner))
    return "\n".join(parts)


def _group(group: click.Group, context: click.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.commands[name]
        inner = click.Context(command, info_name=name, parent=context)
        if isinstance(command, click.Group):
            yield from _group(command, inner)
        else:
            yield _command(command, inner)


def _command(command: click.Command, context: click.Context) -> str:
    return f"### {context.command_path}\n\n{_usage(command, context)}"


def _usage(command: click.Command, context: click.Context) -> str:
    arguments = (
        param.make_metavar(context) for param in command.params if isinstance(param, click.Argument)
    )
    usage = " ".join((context.command_path, *arguments))
    text = inspect.cleandoc(command.help or "").replace("\b\n", "")
    parts = [f"`{usage}`\n", f"{text}\n"]
    own = [option for option in _options(command) if not _is_common(option)]
    if own:
        parts.append(table(("option", "meaning"), (_row(option, context) for option in own)))
    return "\n".join(parts)


def _common(context: click.Context, groups: Iterable[click.Command | None]) -> str:
    found: dict[str, tuple[str, str]] = {}
    for group in groups:
        if isinstance(group, click.Group):
            for command in group.commands.values():
                for option in filter(_is_common, _options(command)):
                    found.setdefault(option.opts[-1], _row(option, context))
    names = (name for names in _COMMON for name in names)
    return table(("option", "meaning"), (found[name] for name in names))


def _options(command: click.Command) -> list[click.Option]:
    return [param for param in command.params if isinstance(param, click.Option)]


def _is_common(option: click.Option) -> bool:
    return any(option.opts[-1] in names for names in _COMMON)


def _row(option: click.Option, context: click.Context) -> tuple[str, str]:
    names, meaning = option.get_help_record(context) or ("", "")
    return f"`{names}`", meaning.replace("  [", " [")
