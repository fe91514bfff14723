"""Tables on a terminal that has not room for all of them."""

from __future__ import annotations

import pytest

from nagaya_client.cli import values
from nagaya_client.cli.fitting import fitted

HEADER = ("STEP", "ITEM", "REUSED", "MODEL", "COST", "OUTPUT", "REASON")
ROWS = [
    ("draft", "0", "no", "claude/claude-sonnet-5-5", "$0.0072", "2,839 characters, 4 headings", ""),
    ("review", "0", "no", "gemini/gemini-3.8-flash", "$0.0009", "object of 2 fields", ""),
]


def test_a_table_that_fits_is_left_as_it_is() -> None:
    assert fitted(HEADER, ROWS, 200) == ([HEADER, *ROWS], [])


@pytest.mark.parametrize(
    ("room", "header"),
    [
        (92, ("STEP", "ITEM", "REUSED", "MODEL", "COST", "OUTPUT")),
        (76, ("STEP", "MODEL", "COST", "OUTPUT")),
        (50, ("STEP", "MODEL", "COST", "OUTPUT")),
        (30, ("STEP", "MODEL", "COST")),
    ],
)
def test_columns_go_that_say_nothing_then_texts_are_cut_then_columns_go_from_the_right(
    room: int, header: tuple[str, ...]
) -> None:
    table, lacking = fitted(HEADER, ROWS, room)

    assert table[0] == header
    assert lacking == (["OUTPUT"] if room == 30 else [])
    assert all(values.width(line) <= room for line in values.aligned(table))
    assert [row[0] for row in table[1:]] == ["draft", "review"]


def test_what_names_or_counts_something_is_never_cut() -> None:
    rows = [("0192f0c1-2345-7000-8000-000000000001", "1,234,567", "町家の宿" * 20)]

    table, lacking = fitted(("RUN", "TOKENS", "SUMMARY"), rows, 70)

    assert table[1][:2] == rows[0][:2]
    assert table[1][2].endswith("…")
    assert values.width(table[1][2]) <= 70 - 36 - 9 - 4
    assert lacking == []


def test_a_first_column_that_is_too_wide_stays_alone() -> None:
    assert fitted(("RUN", "STATE"), [("r" * 40, "failed")], 20) == (
        [("RUN",), ("r" * 40,)],
        ["STATE"],
    )
