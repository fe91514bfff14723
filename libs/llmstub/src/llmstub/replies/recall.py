"""Finding in our own earlier phrases the topic that they were made of.

The prompt of a later step often carries a title or a heading of the outline, but not the topic.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmstub.replies.bank import Bank


def topic(lines: Iterable[str], bank: Bank) -> str:
    """Return the topic of the first line that one of our templates made, or an empty string."""
    for line in lines:
        for template in _templates(bank):
            found = template.fullmatch(line)
            if found:
                return found["topic"]
    return ""


def is_ours(heading: str, bank: Bank) -> bool:
    """Whether a heading is one of those that we deal: then it is no topic itself."""
    return any(template.fullmatch(heading) for template in _headings(bank))


@cache
def _templates(bank: Bank) -> list[re.Pattern[str]]:
    made = [each for each in (*bank.titles, *bank.headings, *bank.points) if "{topic}" in each]
    return [re.compile(_pattern(each), re.IGNORECASE) for each in made]


@cache
def _headings(bank: Bank) -> list[re.Pattern[str]]:
    return [re.compile(_pattern(each), re.IGNORECASE) for each in bank.headings]


def _pattern(template: str) -> str:
    escaped = re.escape(template).replace(r"\{topic\}", "(?P<topic>.{2,120}?)")
    return re.sub(r"\\\{[ab]\\\}", ".{2,60}", escaped)
