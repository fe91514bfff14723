"""Reading JSON values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jsonvalues import NameTwice, NotJson, exact_in_protobuf, parse, parse_strict, scalar_text

TOO_DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is not valid JSON at line 1, column 1"),
        (b'{"a":', "it is not valid JSON at line 1, column 6"),
        (b'{"a": 1}\nx', "it is not valid JSON at line 2, column 1"),
        (b"[01]", "it is not valid JSON at line 1, column 3"),
        (b"NaN", "NaN is no number of JSON"),
        (b'{"a": [-Infinity]}', "-Infinity is no number of JSON"),
        (b'["\xff"]', "it is no UTF-8"),
        (b"\xef\xbb\xbf{}", "it begins with a byte order mark"),
        (TOO_DEEP.encode(), "it is nested too deeply"),
    ],
    ids=["empty", "cut off", "more behind", "01", "NaN", "Infinity", "no UTF-8", "BOM", "too deep"],
)
def test_what_is_no_json_is_refused_with_its_place_and_without_its_text(
    content: bytes, why: str
) -> None:
    for read in (parse, parse_strict):
        with pytest.raises(NotJson) as refused:
            read(content)

        assert str(refused.value) == why


@pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 400, "9" * 5_000])
def test_a_number_larger_than_any_double_is_kept_in_files_and_refused_where_it_is_given(
    number: str,
) -> None:
    parse(f"[{number}]")
    with pytest.raises(NotJson, match="larger than any"):
        parse_strict(f"[{number}]")


def test_of_two_members_with_one_name_the_last_counts_in_files_and_none_where_they_are_given() -> (
    None
):
    text = '{"b": 1, "a": {"x": 1, "x": 2}, "b": 3}'

    assert parse(text) == {"b": 3, "a": {"x": 2}}
    with pytest.raises(NameTwice) as refused:
        parse_strict(text)
    assert refused.value.name == "x"
    assert parse_strict(text, names_once=False) == parse(text)


@pytest.mark.parametrize("text", [r'["\ud83d"]', r'{"\udc00": 1}', r'{"a": {"b": "x\ud800y"}}'])
def test_half_of_a_surrogate_pair_is_kept_in_files_and_refused_where_it_is_given(text: str) -> None:
    parse(text)
    with pytest.raises(NotJson, match="half of a surrogate pair"):
        parse_strict(text)


def test_a_whole_surrogate_pair_is_one_character() -> None:
    assert parse_strict(r'"\ud83e\udda9"') == "🦩"


def test_levels_are_counted_where_they_are_bounded() -> None:
    assert parse_strict('[[{"a": 1}]]', levels=3) == [[{"a": 1}]]
    with pytest.raises(NotJson, match="more than 2 levels"):
        parse_strict('[[{"a": 1}]]', levels=2)


@pytest.mark.parametrize(
    "text",
    ["9007199254740993", "-9007199254740993", "1.0", "-0", "-0.0", "1E2", "19.90", "1e16", "1e400"],
)
def test_some_numbers_do_not_come_out_of_protobuf_as_they_were(text: str) -> None:
    assert not exact_in_protobuf(parse(f'{{"a": [{text}]}}'))


@pytest.mark.parametrize("text", ["9007199254740992", "-7", "0", "19.9", "1e+16", "true", '"1.0"'])
def test_the_others_do(text: str) -> None:
    assert exact_in_protobuf(parse(f'{{"a": [{text}]}}'))


def test_what_is_nested_deeply_does_not_come_out_of_protobuf() -> None:
    assert exact_in_protobuf(parse("[" * 30 + "]" * 30))
    assert not exact_in_protobuf(parse("[" * 31 + "]" * 31))


@given(st.text(st.characters(codec=None), max_size=20))
def test_every_text_can_be_written_once_its_surrogates_are_settled(text: str) -> None:
    settled = scalar_text(text)

    assert settled.encode().decode() == settled
    if not any("\ud800" <= character <= "\udfff" for character in text):
        assert settled == text
