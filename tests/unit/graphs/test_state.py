"""What a graph's state may hold, and what is refused with the field's name."""

from __future__ import annotations

from typing import Any

import pytest

from nagaya_functions import FilePointer, StepError
from nagaya_graphs import STATE_BYTES, TEXT_CHARACTERS
from nagaya_graphs.state import decode_state, encode_state

FILE = FilePointer("storage/acme/r/plan/output.json", "0" * 64, "/topic")


def test_references_and_small_values_are_encoded_and_decoded() -> None:
    state: dict[str, Any] = {
        "plan": FILE,
        "found": [FILE, FILE],
        "scores": {"style": 0.5, "facts": 3},
        "none": None,
        "yes": True,
        "text": "x" * TEXT_CHARACTERS,
    }

    assert decode_state(encode_state(state)) == state


@pytest.mark.parametrize(
    ("state", "reason", "field"),
    [
        ({"ok": 1, "draft": "x" * (TEXT_CHARACTERS + 1)}, "STATE_TOO_LARGE", "draft"),
        ({"a": ["x"], "drafts": ["y" * 200] * 30}, "STATE_TOO_LARGE", "drafts"),
        ({"nested": {"draft": ["x" * 1_000]}}, "STATE_TOO_LARGE", "nested"),
        ({"model": object()}, "STATE_INVALID", "model"),
        ({"data": b"bytes"}, "STATE_INVALID", "data"),
        ({"score": float("nan")}, "STATE_INVALID", "score"),
        ({"half": "\ud800"}, "STATE_INVALID", "half"),
    ],
)
def test_a_body_in_the_state_is_refused_with_the_fields_name(
    state: dict[str, Any], reason: str, field: str
) -> None:
    with pytest.raises(StepError) as refused:
        encode_state(state)

    assert (refused.value.reason, refused.value.retryable) == (reason, False)
    assert f" {field} " in refused.value.message
    assert "x" * 10 not in refused.value.message


def test_a_state_may_take_four_kibibytes_and_no_more() -> None:
    full = {"found": ["x" * 100] * 39, "rest": ""}
    left = STATE_BYTES - len('{"found":["",""],"rest":""}') - 39 * 103 + 5
    encode_state(full | {"rest": "x" * (left - 1)})

    with pytest.raises(StepError):
        encode_state(full | {"rest": "x" * (left + 10)})
