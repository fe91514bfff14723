"""Hints of services, with commands in place of the methods that they name."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, cast

import click

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_CALL = re.compile(r"\b(?:[A-Z][a-z0-9]+){2,}\b")
# Options that say where, as whom or of what: they hold for the next command too.
_CARRIED = ("run_id", "tenant", "profile", "token_file")

BY_REASON = {
    "ERROR_REASON_TOKEN_MISSING": "--token-file or NAGAYA_TOKEN_FILE names the file of your token.",
    "ERROR_REASON_TOKEN_INVALID": "--token-file, NAGAYA_TOKEN_FILE or NAGAYA_TOKEN say which "
    "token is sent; for a local stack `nagaya dev token TENANT` writes one.",
    "ERROR_REASON_PERMISSION_DENIED": "`nagaya tenant list` shows the tenants that you may see.",
    "ERROR_REASON_INTERNAL": "A defect of the service. Send the id of the error to whoever runs "
    "it: its log tells the cause under that id; for a local stack `nagaya dev logs` shows it.",
}
"""What a person can do about refusals that any service may answer with."""


def in_commands(text: str, known: Mapping[str, str] | None = None) -> str:
    """Return a text with the commands in place of the calls that it names.

    They are filled with what the present command was given, and with `known` values by name.
    """
    context = click.get_current_context(silent=True)
    if context is None:
        return text

    given = dict(known or {}) | _given(context)

    def replaced(call: re.Match[str]) -> str:
        found = (path for path in _commands(context) if call[0] in getattr(path[1], "rpcs", ()))
        group, command = next(found, ("", None))
        if command is None:
            return call[0]
        words = [word for one in command.params for word in _words(context, one, given)]
        return "`" + " ".join(["nagaya", group, str(command.name), *words]) + "`"

    return _CALL.sub(replaced, text)


def _commands(context: click.Context) -> Iterator[tuple[str, click.Command]]:
    """Yield every command with its group's name; a group is loaded when it is reached."""
    root = context.find_root()
    groups = cast("click.Group", root.command)
    for name in groups.list_commands(root):
        group = groups.get_command(root, name)
        if isinstance(group, click.Group):
            yield from ((name, command) for command in group.commands.values())


def _words(
    context: click.Context, parameter: click.Parameter, given: Mapping[str, str]
) -> list[str]:
    name = str(parameter.name)
    value = shlex.quote(given[name]) if name in given else parameter.make_metavar(context)
    if isinstance(parameter, click.Argument):
        return [value] if parameter.required else []
    # A tenant that was not given was in the settings, if the present command needs one at all.
    wanted = name == "tenant" and "tenant" not in context.params
    carried = name in _CARRIED and name in given
    return [max(parameter.opts, key=len), value] if parameter.required or carried or wanted else []


def _given(context: click.Context) -> dict[str, str]:
    given = {
        name: str(value)
        for name, value in context.params.items()
        if isinstance(value, (str, int)) and value != "" and not isinstance(value, bool)
    }
    tenant = given.get("tenant") or given.get("tenant_id")
    return given | ({"tenant": tenant, "tenant_id": tenant} if tenant else {})
