"""The sentences of one language, and the deck that deals them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random


@dataclass(frozen=True, slots=True, eq=False)  # each language is itself
class Bank:
    """Sentences with the places {topic}, {a} and {b}; {a} and {b} are words of the prompt."""

    code: str
    titles: tuple[str, ...]
    headings: tuple[str, ...]
    points: tuple[str, ...]
    openers: tuple[str, ...]
    sentences: tuple[str, ...]
    closings: tuple[str, ...]
    findings: tuple[str, ...]
    questions: tuple[str, ...]
    sources: tuple[str, ...]
    praises: tuple[str, ...]
    remarks: tuple[str, ...]
    verdicts: tuple[str, ...]
    labels: Mapping[str, str]  # headings of notes and reviews
    fallback_topic: str
    fallback_words: tuple[str, ...]
    stop: str  # after a sentence
    gap: str  # between two sentences

    def sentences_of_all_kinds(self) -> list[tuple[str, ...]]:
        values: list[object] = [getattr(self, each.name) for each in fields(self)]
        tuples = [cast("tuple[str, ...]", value) for value in values if isinstance(value, tuple)]
        return [*tuples, tuple(self.labels.values())]

    def sentence(self, text: str) -> str:
        """Begin a text as a sentence begins."""
        return text[:1].upper() + text[1:]

    def ended(self, text: str) -> str:
        """Make a sentence of a phrase."""
        return text if text[-1:] in ".。!?！？" else text + self.stop


class Deck:
    """Deals what it holds in a shuffled order, and shuffles anew when all is dealt."""

    def __init__(self, cards: tuple[str, ...], random: Random) -> None:
        self._cards = cards
        self._random = random
        self._left: list[str] = []

    def deal(self) -> str:
        if not self._left:
            self._left = self._random.sample(self._cards, len(self._cards))
        return self._left.pop()
