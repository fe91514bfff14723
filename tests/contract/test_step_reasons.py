"""Every reason of a step that docs/runs/step-failures.md lists has a test that names it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CLONE = Path(__file__).resolve().parents[2]
_ROW = re.compile(r"^\| ((?:`[A-Z_]+`(?:, )?)+) \|", re.MULTILINE)


def _documented() -> list[str]:
    text = (CLONE / "docs" / "runs" / "step-failures.md").read_text()
    return [reason.strip("`") for row in _ROW.findall(text) for reason in row.split(", ")]


TESTS = "\n".join(
    file.read_text() for file in (CLONE / "tests").rglob("*.py") if file != Path(__file__)
)


@pytest.mark.parametrize("reason", _documented())
def test_a_documented_reason_is_named_by_a_test(reason: str) -> None:
    assert f'"{reason}"' in TESTS


def test_the_page_lists_reasons() -> None:
    assert {"OUTPUT_NOT_JSON", "NOT_JSON", "WORKER_LOST"} <= set(_documented())
