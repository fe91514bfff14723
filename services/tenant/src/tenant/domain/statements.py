"""A tokenizer for SQL files, to find commands that a migration must not contain."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOKEN = re.compile(
    r"""
      (?P<comment>/\*)
    | (?P<skipped>--[^\n]*
        | [eE]'(?:[^'\\]++|\\.|'')*+'?+
        | '[^']*+'?+
        | "[^"]*+"?+)
    | (?P<dollar>\$(?:[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*)?\$)
    | (?P<word>[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_$\x80-\U0010ffff]*)
    | (?P<number>[0-9][A-Za-z0-9_.]*)
    | (?P<end>;)
    | (?P<other>[^-/'"$;0-9A-Za-z_\x80-\U0010ffff]{1,4096}+|.)
    """,
    re.VERBOSE | re.DOTALL,
)
# A match holds the interpreter's lock until it ends, and one that may backtrack takes gigabytes: so
# no quantifier backtracks, other characters come in pieces, and a doubled quote makes two strings.
_COMMENT_DELIMITER = re.compile(r"/\*|\*/")
_ONE_WORD = frozenset(["BEGIN", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE"])
_TWO_WORDS = frozenset([("START", "TRANSACTION"), ("PREPARE", "TRANSACTION")])


@dataclass(slots=True)
class Statement:
    """One statement, of whose bare words in upper case those are kept that decide about it.

    Words in strings, comments and quoted names are no bare words.
    """

    line: int
    start: int
    """Where its first bare word begins in the SQL."""
    end: int = 0
    """Where it ends, before its semicolon."""
    first: list[str] = field(default_factory=list[str])  # two at most
    last: str = ""
    stream: str = ""  # STDIN or STDOUT, whichever came first

    def add(self, word: str, atomic: int) -> int:
        """Take in the next word; return by how much `BEGIN ATOMIC … END` is deeper after it."""
        before, self.last = self.last, word
        if len(self.first) < 2:
            self.first.append(word)
        if word in ("STDIN", "STDOUT"):
            self.stream = self.stream or word
        if word == "ATOMIC" and before == "BEGIN" and self.first[0] == "CREATE":
            return 1
        if atomic and word in ("CASE", "END"):
            return 1 if word == "CASE" else -1
        return 0

    def forbidden_command(self) -> str:
        """Return the command of this statement that no migration may contain, or an empty text."""
        first, second = (*self.first, "", "")[:2]
        if first in _ONE_WORD:
            return first
        if (first, second) in _TWO_WORDS:
            return f"{first} {second}"
        if first == "COPY" and self.last != "COPY" and self.stream:
            return f"COPY {self.stream}"
        return ""


def statements(sql: str) -> Iterator[Statement]:
    """Split SQL into statements as PostgreSQL does; an unclosed quote reaches to the end."""
    current: Statement | None = None
    atomic = 0  # how deep in BEGIN ATOMIC … END, where a semicolon ends nothing
    line, counted = 1, 0
    for kind, text, start in _tokens(sql):
        if kind == "word":
            if current is None:
                line, counted = line + sql.count("\n", counted, start), start
                current = Statement(line, start)
            atomic += current.add(text.upper(), atomic)
        elif kind == "end" and not atomic:
            if current is not None:
                current.end = start
                yield current
            current = None
    if current is not None:
        current.end = len(sql)
        yield current


def _tokens(sql: str) -> Iterator[tuple[str, str, int]]:
    position = 0
    while (token := _TOKEN.match(sql, position)) is not None:
        kind, position = str(token.lastgroup), token.end()
        if kind == "comment":
            position = _comment_end(sql, position)
        elif kind == "dollar":
            close = sql.find(token[0], position)
            position = len(sql) if close < 0 else close + len(token[0])
        elif kind in ("word", "end"):
            yield kind, token[0], token.start()


def _comment_end(sql: str, position: int) -> int:
    """Return where a comment ends; comments nest."""
    depth = 1
    while depth and (delimiter := _COMMENT_DELIMITER.search(sql, position)) is not None:
        depth += 1 if delimiter[0] == "/*" else -1
        position = delimiter.end()
    return len(sql) if depth else position
