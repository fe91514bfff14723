"""The command line for a machine without the client: arguments in, lines out."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from nagaya_local import commands
from nagaya_local.clone.layout import Layout
from nagaya_local.commands.doctor import describe, doctor
from nagaya_local.commands.tenants import issue_known_tenant_token
from nagaya_local.errors import LocalError, StackDown
from nagaya_local.supervisor.state import observe


def main() -> int:
    options = _parser().parse_args()
    layout = Layout.around(options.root)
    try:
        return asyncio.run(_run(options, layout))
    except LocalError as error:
        for line in (*error.log_tail, f"error: {error.message}", f"what helps: {error.remedy}"):
            sys.stderr.write(f"{line}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130


async def _run(options: argparse.Namespace, layout: Layout) -> int:
    match options.command:
        case "up":
            await commands.up(layout, _say, tuple(options.part))
            _say(f"addresses: {layout.endpoints}")
        case "down":
            await commands.down(layout, _say)
        case "status":
            for line in describe(layout):
                _say(line)
            return 0 if observe(layout).ready else StackDown.exit_code
        case "logs":
            await commands.logs(layout, _say, options.part, follow=options.follow)
        case "doctor":
            await doctor(layout, _say)
        case "token":
            _say(str(await issue_known_tenant_token(layout, options.tenant)))
        case _:
            return 0 if await commands.clean(layout, _say, _agreed) else 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("nagaya_local", description="Nagaya on this machine.")
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="a folder of the clone")
    verbs = parser.add_subparsers(dest="command", required=True)
    up = verbs.add_parser("up", help="start everything and wait until it is ready")
    up.add_argument("part", nargs="*", help="start these parts only")
    for name, told in (
        ("down", "end everything; data is kept"),
        ("status", "show every part"),
        ("doctor", "print a report to paste into a question"),
        ("clean", "end everything and delete all data (YES=1 answers the question)"),
    ):
        verbs.add_parser(name, help=told)
    logs = verbs.add_parser("logs", help="show what a part wrote, or all")
    logs.add_argument("part", nargs="?")
    logs.add_argument("-f", "--follow", action="store_true")
    token = verbs.add_parser("token", help="write a token for a person of a tenant")
    token.add_argument("tenant")
    return parser


def _agreed(question: str) -> bool:
    if os.environ.get("YES") == "1":
        return True
    sys.stdout.write(f"{question} [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
