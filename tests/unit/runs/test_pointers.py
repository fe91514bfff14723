from __future__ import annotations

import pytest

from runs.domain.pointers import number, resolve

DOCUMENT = {"a": {"b": [10, {"c": "d"}]}, "x/y": 1, "m~n": 2, "": 3}


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("", DOCUMENT),
        ("/a/b/0", 10),
        ("/a/b/1/c", "d"),
        ("/x~1y", 1),
        ("/m~0n", 2),
        ("/", 3),
    ],
)
def test_a_pointer_finds_its_value(pointer: str, value: object) -> None:
    assert resolve(DOCUMENT, pointer) == value


@pytest.mark.parametrize("pointer", ["/gone", "/a/b/2", "/a/b/-", "/a/b/x", "/x~1y/0"])
def test_a_pointer_to_nothing_is_an_error(pointer: str) -> None:
    with pytest.raises(KeyError):
        resolve(DOCUMENT, pointer)


def test_a_metric_is_rounded_to_a_whole_number() -> None:
    assert (number(7, "score"), number(7.6, "score")) == (7, 8)


@pytest.mark.parametrize("value", ["7", True, None, [7]])
def test_a_metric_that_is_no_number_is_an_error(value: object) -> None:
    with pytest.raises(KeyError):
        number(value, "score")  # pyright: ignore[reportArgumentType] - what JSON may hold
