"""`nagaya`: the groups of commands, each loaded when it is used, and the exit codes."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

import click

from nagaya_client.cli import failures
from nagaya_client.errors import NagayaError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.metadata import EntryPoint

GROUPS = {
    "tenant": "Customers, each with a database of its own.",
    "backup": "Backups of tenants: a dump and the files, readable without Nagaya.",
    "certificate": "Certificates of deletion, verified without any server.",
    "keys": "The keys that encrypt secrets, and those that sign.",
    "bundle": "Bundles of tenants: fetched again, and verified without any server.",
    "operation": "Long pieces of work: creations, purges, moves, backups, exports, rollouts.",
    "server": "The PostgreSQL servers that tenants' databases are on.",
    "pipeline": "Pipelines: which steps a run goes through, in versions.",
    "prompt": "Prompts: what a step sends to its model, in versions.",
    "run": "Runs: start, watch, look at, pause, cancel, retry.",
    "schedule": "Schedules: runs of a pipeline at their times.",
    "webhook": "Webhooks: where events of runs are sent, signed.",
    "limits": "Limits of tenants: their weight beside others, slots, runs at once, starts.",
    "approval": "Approvals: what runs ask of people, and what these decide.",
    "artifact": "The files that runs leave behind.",
    "model": "The catalogue: providers, models, prices, and which step uses which.",
    "call": "The ledger of calls to models.",
    "audit": "The audit logs.",
    "schema": "How far each database has come with its migrations, and what has drifted.",
    "rollout": "Published migrations on their way to the tenants' databases.",
}
COMMANDS = {
    "login": "Log in at your identity provider.",
    "logout": "Forget the login of a profile, and have the provider renew it no more.",
    "whoami": "Show who you are to Nagaya, and whether your token is accepted.",
}
"""Commands of no group."""
PLUGINS = "nagaya.commands"
"""The group of entry points by which other distributions add groups of commands."""

_EPILOG = """\b
Exit codes:
  0  done                          4  not authenticated or not allowed
  1  the run did not complete,     5  conflict, or not possible in this state
     or the server has a defect    6  not reachable, overloaded or too late
  2  wrong usage, bad input, or    7  done in part
     a file that cannot be used    130  interrupted
  3  not found

\b
-o json prints the response as protobuf's own JSON: camelCase names, 64-bit
numbers as strings, defaults left out. jsonl prints one item a line, id its name.

\b
Where Nagaya is and who you are comes from the nearest of: options,
NAGAYA_*_ADDRESS and NAGAYA_TOKEN_FILE (or NAGAYA_TOKEN), a profile in
~/.config/nagaya/config.toml, `nagaya login`, the local stack of this clone
(`nagaya dev up`).
"""


class Groups(click.Group):
    """Groups and commands, known by name and summary; a module is imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*GROUPS, *COMMANDS, *_plugins()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in GROUPS:
            group: click.Command = importlib.import_module(f"nagaya_client.cli.{cmd_name}").group
            return group
        if cmd_name in COMMANDS:
            command: click.Command = importlib.import_module(
                f"nagaya_client.cli.{cmd_name}"
            ).command
            return command
        plugin = _plugins().get(cmd_name)
        return plugin.load() if plugin else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in (known := self.list_commands(ctx)):
            if name == "dev":
                raise NagayaError(
                    "the local stack is not installed",
                    "It comes with a clone: `make install` there installs it.",
                )
            near = difflib.get_close_matches(name, known, 1)
            if near:
                ctx.fail(f"No such command '{name}'. Did you mean '{near[0]}'?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(summaries().items()))


@click.command(
    "nagaya",
    cls=Groups,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="nagaya-client", message="nagaya %(version)s")
def nagaya() -> None:
    """Nagaya runs LLM pipelines for customers whose data is physically theirs."""


def _plugins() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=PLUGINS)}


def summaries() -> dict[str, str]:
    """Return what each group and command is for; a plugin is not imported for it."""
    plugins = {
        name: entry.dist.metadata["Summary"] if entry.dist else ""
        for name, entry in _plugins().items()
    }
    return GROUPS | COMMANDS | plugins


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; what went wrong is on stderr."""
    try:
        code = nagaya.main(list(arguments), prog_name="nagaya", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has gone; nothing is to be flushed to them at exit either.
        _forget_output()
        return 0
    except OSError as error:
        if _is_written():
            return failures.report(error)
        return failures.report(OSError(error.errno, error.strerror, "standard output"))
    except (Exception, KeyboardInterrupt) as error:
        return failures.report(error)
    return code if isinstance(code, int) else 0


def _is_written() -> bool:
    """Whether all that was printed has arrived; what has not is forgotten, also at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        _forget_output()
        return False
    return True


def _forget_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
