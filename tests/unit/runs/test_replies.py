"""What becomes of a model's reply: its content to the letter, and the numbers in it."""

from __future__ import annotations

import hashlib

import pytest

from runs.domain.failures import StepFailed
from runs.domain.replies import read_reply


def read(body: bytes, metrics: dict[str, str] | None = None) -> tuple[bytes, dict[str, float]]:
    return read_reply(body, hashlib.sha256(body).hexdigest(), metrics or {})


@pytest.mark.parametrize(
    ("content", "output"),
    [
        ('"Straße 🦀 \\u00e9"', '"Straße 🦀 é"'),
        ('"half of a pair: \\ud83e"', '"half of a pair: \\ud83e"'),
        ('"\\u0000 and \\n"', '"\\u0000 and \\n"'),
        ('{ "b": 12345678901234567890, "a": [19.90, 1E2, -0, 1.0] }',
         '{"b":12345678901234567890,"a":[19.90,1E2,-0,1.0]}'),
        ('""', '""'),
        ("null", "null"),
    ],
)  # fmt: skip
def test_a_content_is_kept_to_the_letter(content: str, output: str) -> None:
    data, _ = read(f'{{"content":{content},"finish_reason":"stop"}}'.encode())

    assert data == output.encode()


def test_numbers_of_a_reply_are_taken_where_pointers_lead() -> None:
    body = b'{"content":{"a":9007199254740993,"b":[7.25],"c/d":1E2},"usage":{"a":1}}'

    _, metrics = read(body, {"a": "/a", "b": "/b/0", "c": "/c~1d"})

    assert metrics == {"a": 9007199254740993, "b": 7.25, "c": 100}


@pytest.mark.parametrize(
    ("pointer", "reason"),
    [
        ("/text", "METRIC_NOT_A_NUMBER"),
        ("/huge", "METRIC_NOT_A_NUMBER"),
        ("/list/01", "POINTER_INVALID"),
        ("/~", "POINTER_INVALID"),
    ],
)
def test_what_is_no_number_is_no_metric(pointer: str, reason: str) -> None:
    with pytest.raises(StepFailed) as failed:
        read(b'{"content":{"text":"1","huge":1e999,"list":[1]}}', {"v": pointer})

    assert (failed.value.reason, failed.value.final) == (reason, True)


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"text":1}', b"\xff", b'{"content":NaN}'])
def test_what_is_no_reply_fails_its_step(body: bytes) -> None:
    with pytest.raises(StepFailed) as failed:
        read(body)

    assert (failed.value.reason, failed.value.final) == ("NOT_JSON", True)


def test_a_reply_that_was_damaged_is_fetched_again() -> None:
    with pytest.raises(StepFailed) as failed:
        read_reply(b'{"content":1}', hashlib.sha256(b'{"content":2}').hexdigest(), {})

    assert (failed.value.reason, failed.value.final) == ("REPLY_CORRUPT", False)
