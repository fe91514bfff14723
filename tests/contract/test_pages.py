"""The pages of the repository: links lead somewhere, and commands are those that there are."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import click
import pytest
from docs import site

from nagaya_client.cli.main import nagaya

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BLOCK = re.compile(r"^```(?:sh|shell)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`((?:\.venv/bin/)?nagaya [^`]+)`", re.DOTALL)
_END = re.compile(r"[|;&>)]|\s#|$", re.MULTILINE)


def test_every_link_of_every_page_leads_somewhere() -> None:
    assert site.broken_links() == []


def test_every_page_is_in_the_sites_navigation() -> None:
    navigation = (site.CLONE / "docs" / "zensical.toml").read_text()

    missing = [
        str(page)
        for page in site.pages()
        if page.parts[0] == "docs" and f'"{page}"' not in navigation
    ]

    assert missing == []


@pytest.mark.parametrize("page", site.pages(), ids=str)
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    unknown = [
        f"{command}: {problem}"
        for command in _commands((site.CLONE / page).read_text())
        if (problem := _problem(command))
    ]

    assert unknown == []


def _commands(text: str) -> Iterator[str]:
    for block in _BLOCK.findall(text):
        joined = block.replace("\\\n", " ")
        for found in re.finditer(r"(?:^|[ (]|\.venv/bin/)nagaya (?=[a-z-])", joined, re.MULTILINE):
            rest = joined[found.end() :]
            end = _END.search(rest)
            yield rest[: end.start() if end else None].strip()
    for span in _SPAN.findall(_BLOCK.sub("", text)):
        words = " ".join(span.split()).removeprefix(".venv/bin/").removeprefix("nagaya ")
        if re.match(r"[a-z]", words):
            yield words


def _problem(command: str) -> str | None:
    """Say what `nagaya` does not know of a command; None when it knows all of it."""
    try:
        words = shlex.split(command)
    except ValueError:  # a quotation that goes on behind what was cut off
        words = command.split()
    found: click.Command = nagaya
    context = click.Context(nagaya)
    while isinstance(found, click.Group) and words and not words[0].startswith("-"):
        inner = found.get_command(context, words[0])
        if inner is None:
            return f"no command {words[0]}" if words[0].islower() else None
        found, words = inner, words[1:]
        context = click.Context(found, parent=context)
    known = {name for one in found.get_params(context) for name in (*one.opts, *one.secondary_opts)}
    known |= {"-o", "--output", "--profile", "--address", "--token-file", "--help", "--version"}
    given = [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    missing = [option for option in given if option not in known]
    return f"no option {', '.join(missing)}" if missing else None
