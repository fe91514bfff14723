from __future__ import annotations

import pytest

from artifacts.domain.facts import FactCounter, count_facts
from artifacts.domain.files import CHUNK_BYTES

MARKDOWN = """# Tea

#hashtag, no heading

## Green ##
```sh
# a comment, no heading
```
####### seven are too many
    # indented, so code
"""


def test_headings_are_counted_where_markdown_sees_them() -> None:
    facts = count_facts(MARKDOWN.encode(), "text/markdown")

    assert facts.summary == f"{len(MARKDOWN)} characters, 2 headings"


def test_characters_are_counted_and_not_bytes() -> None:
    facts = count_facts("お茶".encode(), "text/plain")

    assert facts.summary == "2 characters"
    assert facts.metrics == {"bytes": 6, "characters": 2}


@pytest.mark.parametrize(
    ("body", "summary"),
    [
        (b"", "0 characters"),
        (b"{}", "object of 0 fields, 2 characters"),
        (b'{"a": 1}', "object of 1 field, 8 characters"),
        (b"[]", "list of 0 items"),
        (b"1", "number"),
        (b"1.5", "number"),
        (b"true", "true"),
        (b"null", "null"),
        (b'"x"', "1 character"),
        (b"not json", "8 characters"),
        (b"[" * 50_000, "50,000 characters"),
    ],
)
def test_json_is_described_by_its_shape(body: bytes, summary: str) -> None:
    assert count_facts(body, "application/json").summary == summary


@pytest.mark.parametrize("file_type", ["image/png", "text/plain"])
def test_what_is_no_text_has_bytes_only(file_type: str) -> None:
    facts = count_facts(b"\xff\xfe" * 1000, file_type)

    assert facts.summary == "2,000 bytes"
    assert facts.metrics == {"bytes": 2000}


def test_a_character_may_be_split_between_chunks() -> None:
    finder = FactCounter("text/plain")
    body = b"x" * (CHUNK_BYTES - 1) + "茶".encode() * 10
    for start in range(0, len(body), CHUNK_BYTES):
        finder.add(body[start : start + CHUNK_BYTES])

    assert finder.facts().metrics["characters"] == CHUNK_BYTES - 1 + 10


def test_a_text_that_ends_inside_a_character_is_no_text() -> None:
    assert count_facts("茶".encode()[:2], "text/plain").metrics == {"bytes": 2}
