"""Renders a prompt's template to pieces of text and pointers; the gateway joins them.

The worker never holds what the pointers point to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runs.domain.failures import StepImpossible
from runs.domain.templates import Variable, parse_template

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from nagaya_functions import FilePointer

    Piece = str | FilePointer

PIECE_LIMIT = 4_096
"""The most pieces that the gateway takes in one message."""

_BETWEEN_ITEMS = "\n\n"


def render(template: str, values: Mapping[str, Sequence[Piece]]) -> tuple[Piece, ...]:
    """Put values in the place of a template's variables. Several are set apart by a blank line.

    Raises StepImpossible if a variable has no value, a value has no variable, nothing is said, or
    there are more than PIECE_LIMIT pieces.
    """
    parts = parse_template(template)
    wanted = {part.name for part in parts if isinstance(part, Variable)}
    if wanted != set(values):
        names = ", ".join(sorted(wanted ^ set(values)))
        raise StepImpossible("PROMPT_UNUSABLE", f"variables and bindings disagree: {names}")
    pieces = tuple(_merged(_pieces(parts, values)))
    if all(isinstance(piece, str) and not piece.strip() for piece in pieces):
        raise blank_prompt(wanted)
    if len(pieces) > PIECE_LIMIT:
        raise StepImpossible(
            "PROMPT_TOO_MANY_PIECES",
            f"the prompt has {len(pieces):,} pieces, at most {PIECE_LIMIT:,} are possible: "
            "bind fewer items, or the output of a step that collects them",
        )
    return pieces


def blank_prompt(variables: Iterable[str]) -> StepImpossible:
    """Return the failure of a prompt that says nothing: every variable of it is empty."""
    names = ", ".join(sorted(variables))
    empty = f": nothing but space or empty values is in {names}" if names else ""
    return StepImpossible("PROMPT_BLANK", f"the prompt says nothing{empty}; no model was asked")


def _pieces(
    parts: Iterable[str | Variable], values: Mapping[str, Sequence[Piece]]
) -> Iterator[Piece]:
    for part in parts:
        if isinstance(part, str):
            yield part
            continue
        for index, value in enumerate(values[part.name]):
            if index:
                yield _BETWEEN_ITEMS
            yield value


def _merged(pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Join neighbouring texts and leave out empty ones."""
    text = ""
    for piece in pieces:
        if isinstance(piece, str):
            text += piece
            continue
        if text:
            yield text
        text = ""
        yield piece
    if text:
        yield text
