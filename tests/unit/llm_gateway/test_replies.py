"""ReplyStorage: their files and the facts about them."""

from __future__ import annotations

import json
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jsonvalues import NotJson
from llm_gateway.domain.replies import Reply, read
from llm_gateway.domain.usage import FinishReason, Usage

USAGE = Usage(1, 2, 3, 4, 5)


def reply(
    text: str, *, structured: bool = False, finish: FinishReason = FinishReason.STOP
) -> Reply:
    return Reply(text, finish, USAGE, "claude", "claude-sonnet-5-5", structured)


@given(st.text())
def test_a_text_is_read_as_it_was_written(text: str) -> None:
    stored = read(reply(text).body(), structured=False)

    assert (stored.text, stored.finish_reason, stored.usage) == (text, FinishReason.STOP, USAGE)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)  # fmt: skip
SPACE = st.text(" \t\r\n", max_size=3)


@given(JSON, SPACE, SPACE, st.sampled_from((None, 2)), st.sampled_from((0, 1)))
def test_a_json_value_is_stored_as_one_and_its_text_kept_to_the_character(
    value: object, before: str, after: str, indent: int | None, ascii_only: Literal[0, 1]
) -> None:
    text = before + json.dumps(value, indent=indent, ensure_ascii=bool(ascii_only)) + after
    body = reply(text, structured=True).body()

    assert json.loads(body)["content"] == value
    assert read(body, structured=True).text == text


def test_the_file_says_what_the_contract_says() -> None:
    assert json.loads(reply("Hello").body()) == {
        "content": "Hello",
        "finish_reason": "stop",
        "provider": "claude",
        "model": "claude-sonnet-5-5",
        "usage": {
            "input_tokens": 1,
            "cache_read_tokens": 2,
            "cache_write_tokens": 3,
            "output_tokens": 4,
            "reasoning_tokens": 5,
        },
    }


@pytest.mark.parametrize(
    ("made", "summary"),
    [
        (reply("# A\n\n" + "x" * 1200 + "\n## B\n"), "1,211 characters, 2 headings"),
        (reply("x", finish=FinishReason.LENGTH), "1 character, ended by length"),
        (reply('{"a": 1}', structured=True), "an object of 1 field, 8 characters"),
        (reply("[1, 2]", structured=True), "a list of 2 elements, 6 characters"),
        (reply('"SECRET"', structured=True), "a string, 8 characters"),
    ],
)
def test_a_summary_is_a_fact(made: Reply, summary: str) -> None:
    assert made.summary() == summary


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"content": "x"}',
        b'{"content": "", "finish_reason": "y"}',
    ],
)
def test_a_file_that_no_gateway_wrote_is_no_reply(body: bytes) -> None:
    with pytest.raises(NotJson):
        read(body, structured=False)
