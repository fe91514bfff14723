"""JSON values of files."""

from __future__ import annotations

import pytest

from runs.domain.failures import StepImpossible
from runs.domain.values import parsed


@pytest.mark.parametrize(
    "data",
    [b"", b'{"a":', b'["\xff"]', b"[" * 100_000 + b"]" * 100_000, b"9" * 5_000],
    ids=["empty", "cut off", "no UTF-8", "too deep", "too long a number"],
)
def test_bytes_that_hold_no_value_end_the_step_without_their_text(data: bytes) -> None:
    with pytest.raises(StepImpossible) as failed:
        parsed(data)

    assert failed.value.reason == "NOT_JSON"
    assert failed.value.message == "a file holds no JSON value that can be read"
