"""Nothing of a key or a prompt is left in a provider's words, however long the prompt is."""

from __future__ import annotations

import json
from html import escape
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.domain.provider_errors import ProviderError

PART = 1 << 16
SECRET = "herons-at-dawn-17"


def error_of(message: str) -> ProviderError:
    return ProviderError.of("bad_value", "invalid_request_error", "messages", message)


@pytest.mark.parametrize("begin", [0, PART - 20, PART - 9, PART - 1, PART, 3 * PART - 5, 10**6])
@pytest.mark.parametrize("filler", [".", "é", " \n"])
def test_what_stands_anywhere_in_a_long_prompt_is_left_out(begin: int, filler: str) -> None:
    prompt = (filler * begin)[:begin] + SECRET + "." * 100

    kept = error_of(f"cannot read {SECRET}!").scrubbed((), (prompt,))

    assert kept.message == "cannot read …!"


@pytest.mark.parametrize("cut", range(8))
def test_ten_characters_of_a_prompt_are_left_out_and_nine_are_not(cut: int) -> None:
    ten = SECRET[cut : cut + 10]

    assert ten not in error_of(f"«{ten}»").scrubbed((), ("x" * 7 + SECRET,)).message
    assert ten[:9] in error_of(f"«{ten[:9]}»").scrubbed((), ("x" * 7 + SECRET,)).message


@given(st.text("ab鷺 ", max_size=40), st.text("ab鷺 ", max_size=40))
def test_what_is_left_stands_in_no_prompt(message: str, prompt: str) -> None:
    flat = " ".join(prompt.split())
    for piece in error_of(message).scrubbed((), (prompt,)).message.split("…"):
        for begin in range(len(piece)):
            length = 10 if piece[begin : begin + 4].isascii() else 4
            run = piece[begin : begin + length]
            assert len(run) < length or run not in flat


QUOTED = 'Say "hi" & <bow>, 青鷺, at 100% of dawn; sk-proj-77aa88bb'


WAYS = [QUOTED, quote(QUOTED), escape(QUOTED), json.dumps(QUOTED),
        json.dumps(QUOTED, ensure_ascii=False)]  # fmt: skip


@pytest.mark.parametrize(
    ("prompt", "written"),
    [*((QUOTED, each) for each in WAYS), *zip(WAYS[1:], WAYS[1:], strict=True)],
)
def test_a_prompt_is_left_out_however_it_is_quoted(prompt: str, written: str) -> None:
    kept = error_of(f"cannot read {written}!").scrubbed(("sk-proj-77aa88bb",), (prompt,)).message

    assert kept.startswith("cannot read")
    for word in ("bow", "青鷺", "dawn", "77aa", "%E9"):
        assert word not in kept
