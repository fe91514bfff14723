"""A provider's own words about an error or an unusual end, and how they are scrubbed."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from html import unescape
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MESSAGE_CHARACTERS = 300
_READ_CHARACTERS = 2_000
_IDENTIFIER = re.compile(r"[\w.\[\]$/:-]{1,100}", re.ASCII)
_LEFT_OUT = "…"
# Keys as providers write them, also half hidden: `sk-proj-abc***xyz`, `Bearer x`, `AIza…`.
_KEY = re.compile(
    r"(?i:bearer)\s+\S+|\b(?:sk|rk|pk|key|nk|gsk|xai|pplx|hf)[-_][\w*.…-]{4,}|\bAIza[\w*.…-]{4,}"
    r"|\beyJ[\w-]{8,}[\w.-]*"
)
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")
_PLAIN_RUN, _DENSE_RUN, _KEY_RUN = 10, 4, 6
_PART, _OVERLAP = 1 << 16, 1 << 10


@dataclass(frozen=True, slots=True)
class ProviderError:
    """A provider's error. Empty where there was none, or nothing that may be stored.

    Code, type and parameter are identifiers of at most 100 characters.
    """

    code: str = ""
    type: str = ""
    param: str = ""
    message: str = ""

    @classmethod
    def of(cls, code: str, kind: str, param: str, message: str) -> ProviderError:
        """Return an error of the valid identifiers, and of the message's beginning."""
        code, kind, param = map(_identifier, (code, kind, param))
        return cls(code, kind, param, message[:_READ_CHARACTERS])

    def __bool__(self) -> bool:
        return bool(self.code or self.type or self.param or self.message)

    def scrubbed(self, keys: Iterable[str], texts: Iterable[str]) -> ProviderError:
        """Return what may be stored and shown.

        Nothing of a key is left, and nothing that also stands in one of the texts: runs of 10
        characters, or of 4 where a character is not ASCII. The message has 300 characters at most.
        """
        keys, texts = tuple(keys), tuple(texts)
        texts = tuple({*texts, *map(_decoded, texts)})
        return ProviderError(
            code=_unless_secret(self.code, texts, keys),
            type=_unless_secret(self.type, texts, keys),
            param=_unless_secret(self.param, texts, keys),
            message=_excerpt(self.message, texts, keys),
        )


def _identifier(name: str) -> str:
    return name if _IDENTIFIER.fullmatch(name) else ""


def _unless_secret(name: str, texts: tuple[str, ...], keys: tuple[str, ...]) -> str:
    secret = _KEY.search(name) or any(_runs_in(name, keys, _KEY_RUN, _KEY_RUN))
    return "" if secret or any(_runs_in(name, texts, _PLAIN_RUN, _DENSE_RUN)) else name


def _decoded(text: str) -> str:
    """Undo the escapes of JSON, URLs and HTML, in which messages quote."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), unescape(unquote(text)))


def _excerpt(message: str, texts: tuple[str, ...], keys: tuple[str, ...]) -> str:
    text = "".join(" " if unicodedata.category(c)[0] == "C" else c for c in _decoded(message))
    text = _KEY.sub(_LEFT_OUT, " ".join(text.split()))
    hidden = [False] * len(text)
    for begin, end in (
        *_runs_in(text, keys, _KEY_RUN, _KEY_RUN),
        *_runs_in(text, texts, _PLAIN_RUN, _DENSE_RUN),
    ):
        hidden[begin:end] = [True] * (end - begin)
    shown: list[str] = []
    for character, is_hidden in zip(text, hidden, strict=True):
        if not is_hidden:
            shown.append(character)
        elif shown[-1:] != [_LEFT_OUT]:
            shown.append(_LEFT_OUT)
    return "".join(shown)[:MESSAGE_CHARACTERS]


def _runs_in(text: str, texts: Iterable[str], plain: int, dense: int) -> Iterator[tuple[int, int]]:
    """Yield begin and end of the runs of the text that also occur in one of the other texts."""
    places: dict[str, list[int]] = {}
    for begin in range(len(text)):
        length = plain if text[begin : begin + dense].isascii() else dense
        if begin + length <= len(text):
            places.setdefault(text[begin : begin + length], []).append(begin)
    for length in {plain, dense}:
        sought = {run for run in places if len(run) == length}
        for run in _runs_found(texts, sought, length):
            yield from ((begin, begin + length) for begin in places[run])


def _runs_found(texts: Iterable[str], sought: set[str], length: int) -> set[str]:
    """Return which runs, all of one length, occur in one of the texts.

    Texts have up to 32 MiB, so they are searched once for all runs: cut at every `step`, such that
    a run which occurs there contains one whole piece, wherever it begins.
    """
    step = (length + 1) // 2
    pieces = {run[at : at + step] for run in sought for at in range(length - step + 1)}
    found = set[str]()
    for part in _parts(texts) if sought else ():
        cut = [part[at : at + step] for at in range(0, len(part), step)]
        for at in () if pieces.isdisjoint(cut) else range(0, len(part), step):
            if part[at : at + step] in pieces:
                begins = range(max(at + step - length, 0), at + 1)
                found.update(sought.intersection(part[b : b + length] for b in begins))
    return found


def _parts(texts: Iterable[str]) -> Iterator[str]:
    """Yield parts of texts that overlap, each run of space in them as one."""
    for text in texts:
        for begin in range(0, len(text), _PART):
            yield " ".join(text[begin : begin + _PART + _OVERLAP].split())
