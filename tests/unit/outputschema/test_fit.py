"""What a reply is held to, and how much work that may be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from outputschema import fit
from outputschema.fit import SchemaMismatch, check_value


def fits(definition: dict[str, Any], value: object) -> bool:
    try:
        check_value(definition, value)
    except SchemaMismatch:
        return False
    return True


SCALARS = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0, "a", "1"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=6,
)


@given(st.lists(VALUES, max_size=5), VALUES)
def test_equality_is_that_of_json_schema(values: list[Any], value: object) -> None:
    for definition, instance in (
        ({"uniqueItems": True}, values),
        ({"enum": values}, value),
        ({"const": value}, values[0] if values else value),
    ):
        judge: Any = Draft202012Validator(definition)
        assert fits(definition, instance) == judge.is_valid(instance)


def test_20_000_objects_are_distinguished_within_the_bound() -> None:
    items = [{"id": number, "tags": ["a"]} for number in range(20_000)]
    schema = {"type": "array", "uniqueItems": True}

    check_value(schema, items)
    with pytest.raises(SchemaMismatch, match="uniqueItems"):
        check_value(schema, [*items, {"tags": ["a"], "id": 19_999.0}])


def test_a_long_list_of_a_long_enum_is_checked_within_the_bound() -> None:
    allowed = [{"code": number} for number in range(1_500)]

    check_value({"items": {"enum": allowed}}, [{"code": 1_499}] * 20_000)


REQUIRED = [f"name-{number}" for number in range(2_000)]
COSTLY: dict[str, tuple[dict[str, Any], object]] = {
    "alternatives for each item": (
        {"items": {"anyOf": [{"const": [number]} for number in range(1_000)]}},
        [[999]] * 2_000,
    ),
    "alternatives within alternatives": (
        {
            "$defs": {
                "node": {
                    "anyOf": [
                        {"properties": {"a": {"$ref": "#/$defs/node"}}, "required": ["b"]},
                        {"properties": {"a": {"$ref": "#/$defs/node"}}, "required": ["c"]},
                    ]
                }
            },
            "$ref": "#/$defs/node",
        },
        None,
    ),
    "many properties of many objects": (
        {"items": {"properties": {name: {} for name in REQUIRED}, "required": REQUIRED}},
        [dict.fromkeys(REQUIRED, 1)] * 2_000,
    ),
}


def deep(levels: int) -> object:
    value: object = {}
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize("name", COSTLY)
def test_a_check_that_would_take_too_long_ends_as_a_mismatch(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "WORK", 20_000)
    definition, value = COSTLY[name]

    with pytest.raises(SchemaMismatch, match="too long"):
        check_value(definition, deep(40) if value is None else value)


def test_a_large_but_simple_reply_is_no_work_to_speak_of() -> None:
    item = {"type": "object", "properties": {name: {"type": "string"} for name in "abcde"}}

    check_value({"type": "array", "items": item}, [dict.fromkeys("abcde", "text")] * 10_000)
