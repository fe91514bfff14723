"""What a provider said of an error or of an unusual end, in its own words."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

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


@dataclass(frozen=True, slots=True)
class ProviderError:
    """An error as the provider told it. Empty where it told nothing, or nothing that may be kept.

    Code, type and parameter are identifiers of at most 100 characters.
    """

    code: str = ""
    type: str = ""
    param: str = ""
    message: str = ""

    @classmethod
    def of(cls, code: str, kind: str, param: str, message: str) -> ProviderError:
        """Keep of each what can be an identifier, and of the message its beginning."""
        code, kind, param = map(_identifier, (code, kind, param))
        return cls(code, kind, param, message[:_READ_CHARACTERS])

    def __bool__(self) -> bool:
        return self != ProviderError()

    def scrubbed(self, keys: Iterable[str], texts: Iterable[str]) -> ProviderError:
        """Return what may be stored and shown.

        Nothing of a key is left, and nothing that also stands in one of the texts: runs of 10
        characters, or of 4 where a character is not ASCII. The message has 300 characters at most.
        """
        texts, keys = tuple(texts), tuple(keys)
        return ProviderError(
            code=_unless_told(self.code, texts, keys),
            type=_unless_told(self.type, texts, keys),
            param=_unless_told(self.param, texts, keys),
            message=_excerpt(self.message, texts, keys),
        )


def _identifier(name: str) -> str:
    return name if _IDENTIFIER.fullmatch(name) else ""


def _unless_told(name: str, texts: tuple[str, ...], keys: tuple[str, ...]) -> str:
    secret = _KEY.search(name) or any(_runs_in(name, keys, _KEY_RUN, _KEY_RUN))
    return "" if secret or any(_runs_in(name, texts, _PLAIN_RUN, _DENSE_RUN)) else name


def _excerpt(message: str, texts: tuple[str, ...], keys: tuple[str, ...]) -> str:
    text = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), message)
    text = "".join(" " if unicodedata.category(c)[0] == "C" else c for c in text)
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
    """Yield where runs of the text begin and end that also stand in one of the other texts."""
    for other in texts:
        flat = " ".join(other.split())
        for begin in range(len(text)):
            short = text[begin : begin + dense]
            length = plain if short.isascii() else dense
            run = text[begin : begin + length]
            if len(run) == length and run in flat:
                yield begin, begin + length
