"""Phrases about one prompt, dealt so that neighbours differ."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

from llmstub import tokens
from llmstub.replies.bank import Deck

if TYPE_CHECKING:
    from random import Random

    from llmstub.replies.brief import Brief


class Phrases:
    def __init__(self, brief: Brief, random: Random) -> None:
        self.brief = brief
        self.random = random
        self._decks: dict[str, Deck] = {}
        self._words = cycle(random.sample(brief.words, len(brief.words)))

    def deal(self, kind: str) -> str:
        """Return the next phrase of a kind: the name of one of the bank's lists."""
        if kind not in self._decks:
            cards: tuple[str, ...] = getattr(self.brief.bank, kind)
            self._decks[kind] = Deck(cards, self.random)
        return self.fill(self._decks[kind].deal())

    def fill(self, template: str) -> str:
        topic = self.brief.topic
        first = next(self._words) if "{a}" in template else ""
        second = next(self._words) if "{b}" in template else ""
        filled = template.format(topic=topic, a=first, b=second)
        return self.brief.bank.sentence(filled)

    def paragraph(self, budget: int, opening: str = "") -> str:
        """Return whole sentences of about so many tokens; at least one."""
        gap = self.brief.bank.gap
        text = opening or self.deal("sentences")
        while tokens.count(text) < budget:
            text += gap + self.deal("sentences")
        return text

    def label(self, name: str, subject: str = "") -> str:
        return self.brief.bank.labels[name].format(subject=subject)
