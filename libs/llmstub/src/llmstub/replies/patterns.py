"""Strings that match a regular expression, for the `pattern` of a JSON schema.

Understood: literals, classes, `.`, `\\d \\w \\s` and their opposites, groups, `|`, `* + ? {n,m}`
and anchors at the ends. Anything else raises Refused(400), as providers refuse what they do not
follow.
"""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING

from llmstub.domain import Refused

if TYPE_CHECKING:
    from random import Random

_PRINTABLE = string.ascii_letters + string.digits + " _-.,:;!?/@#"
_CLASSES = {"d": string.digits, "w": string.ascii_lowercase + string.digits, "s": " "}
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t"}
_COUNT = re.compile(r"\{(\d+)(,(\d*))?\}")
_GROUP = re.compile(r"\?(?::|P?<[A-Za-z_]\w*>)")
_MORE = 3  # how many repetitions an open-ended quantifier adds at most
_MOST_ATOMS = 20_000  # nested repetitions multiply


def matching(pattern: str, random: Random) -> str:
    """Return one string that the pattern matches. Raises Refused."""
    sampler = _Sampler(pattern, random)
    text = sampler.alternatives()
    if sampler.position < len(pattern):
        raise sampler.refused("an unexpected )")
    return text


class _Sampler:
    """Walks the pattern and writes as it reads; a repeated part is walked again for each time."""

    def __init__(self, pattern: str, random: Random) -> None:
        self._pattern = pattern
        self._random = random
        self._atoms = 0
        self.position = 0

    def alternatives(self) -> str:
        branches = [self._sequence()]
        while self._peek() == "|":
            self.position += 1
            branches.append(self._sequence())
        return self._random.choice(branches)

    def refused(self, what: str) -> Refused:
        return Refused(400, f"schema: pattern {self._pattern!r} has {what}", "pattern")

    def _sequence(self) -> str:
        parts: list[str] = []
        while self._peek() not in ("", "|", ")"):
            parts.append(self._repeated())
        return "".join(parts)

    def _repeated(self) -> str:
        start = self.position
        text = self._atom()
        end = self.position
        least, most = self._quantifier()
        after = self.position
        times = self._random.randint(least, most)
        if (least, most) == (1, 1) or after == end:
            return text
        parts: list[str] = []
        for _ in range(times):
            self.position = start
            parts.append(self._atom())
        self.position = after
        return "".join(parts)

    def _quantifier(self) -> tuple[int, int]:
        count = _COUNT.match(self._pattern, self.position)
        if count:
            self.position = count.end()
            least = int(count[1])
            most = least if count[2] is None else int(count[3] or least + _MORE)
        elif self._peek() in ("*", "+", "?"):
            sign = self._take()
            least, most = {"*": (0, _MORE), "+": (1, 1 + _MORE), "?": (0, 1)}[sign]
        else:
            return 1, 1
        if self._peek() in ("?", "+"):  # lazy or possessive: the same strings match
            self.position += 1
        return least, max(least, most)

    def _atom(self) -> str:
        self._atoms += 1
        if self._atoms > _MOST_ATOMS:
            raise self.refused("too many repetitions")
        sign = self._take()
        if sign == "(":
            return self._group()
        if sign == "[":
            return self._random.choice(self._class())
        if sign == "\\":
            return self._random.choice(self._escape())
        if sign == ".":
            return self._random.choice(string.ascii_lowercase)
        if sign in "^$":
            return ""
        if sign in "*+?{":
            raise self.refused(f"nothing to repeat before {sign}")
        return sign

    def _group(self) -> str:
        opening = _GROUP.match(self._pattern, self.position)
        if opening:
            self.position = opening.end()
        elif self._peek() == "?":
            raise self.refused("a group that the stub does not understand")
        text = self.alternatives()
        if self._take() != ")":
            raise self.refused("an unclosed group")
        return text

    def _escape(self) -> str:
        sign = self._take()
        if sign in _CLASSES:
            return _CLASSES[sign]
        if sign.lower() in _CLASSES:
            excluded = _CLASSES[sign.lower()] + string.whitespace + string.ascii_uppercase + "_"
            return "".join(letter for letter in _PRINTABLE if letter not in excluded) or "-"
        if sign in _CONTROLS:
            return _CONTROLS[sign]
        if sign.isalnum():
            raise self.refused(f"\\{sign}")
        return sign

    def _class(self) -> str:
        negated = self._peek() == "^"
        self.position += negated
        letters = ""
        while (sign := self._take()) != "]" or not letters:
            first = self._escape() if sign == "\\" else sign
            if self._peek() == "-" and self._pattern[self.position + 1 : self.position + 2] != "]":
                self.position += 1
                last = self._take()
                last = self._escape() if last == "\\" else last
                first = "".join(map(chr, range(ord(first[0]), ord(last[0]) + 1)))
            letters += first
        chosen = "".join(p for p in _PRINTABLE if p not in letters) if negated else letters
        if not chosen:
            raise self.refused("a class without a printable letter")
        return chosen

    def _peek(self) -> str:
        return self._pattern[self.position : self.position + 1]

    def _take(self) -> str:
        sign = self._peek()
        if not sign:
            raise self.refused("no end")
        self.position += 1
        return sign
