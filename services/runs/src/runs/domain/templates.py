"""Templates of prompts: texts with variables.

`{{name}}` and `{{ name }}` are a variable, `{{{{` is the text `{{`. Everything else is text, what
other template languages read included.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runs.errors import PromptTemplateInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_BRACES = re.compile(
    r"(?P<escaped>\{\{\{\{)|\{\{[ \t]*(?P<name>[a-z][a-z0-9_]{0,62})[ \t]*\}\}|\{\{"
)
_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Variable:
    """A place of a template where a value goes."""

    name: str


def parse_template(content: str) -> tuple[str | Variable, ...]:
    """Return the texts and variables of a template, in their order. Raises PromptTemplateInvalid.

    A template that was stored before `{{ name }}` and `{{{{` were known holds neither: they were
    refused.
    """
    return tuple(_parts(content))


def variables_of(content: str) -> tuple[str, ...]:
    """Return the names of a template's variables, in the order of their first appearance.

    Raises PromptTemplateInvalid.
    """
    parts = parse_template(content)
    return tuple(dict.fromkeys(part.name for part in parts if isinstance(part, Variable)))


def _parts(content: str) -> Iterator[str | Variable]:
    end = 0
    for braces in _BRACES.finditer(content):
        if braces.start() > end:
            yield content[end : braces.start()]
        end = braces.end()
        if braces["escaped"]:
            yield "{{"
        elif braces["name"]:
            yield Variable(braces["name"])
        else:
            raise _malformed(content, braces.start())
    if end < len(content):
        yield content[end:]


def _malformed(content: str, start: int) -> PromptTemplateInvalid:
    line = content.count("\n", 0, start) + 1
    close = content.find("}}", start)
    if close < 0:
        fault = "a variable is not closed"
    else:
        fault = f"{content[start + 2 : close][:_SHOWN]!r} is no name"
    return PromptTemplateInvalid(f"line {line}: {fault}", line=str(line))


def fill_in(content: str, values: Mapping[str, str]) -> str:
    """Return a template with a text for each of its variables. Raises PromptTemplateInvalid."""
    parts = parse_template(content)
    return "".join(part if isinstance(part, str) else values[part.name] for part in parts)
