"""JSON values that keep their numbers to the letter, and pointers into them."""

from __future__ import annotations

from jsonvalues.numbers import NotANumber, fits_int64, plain_number
from jsonvalues.pointers import NothingThere, PointerMalformed, at
from jsonvalues.reading import parse, parse_object, parse_strict, scalar_text
from jsonvalues.values import (
    PROTOBUF_LEVELS,
    Json,
    JsonMapping,
    JsonObject,
    JsonValue,
    NameTwice,
    NotJson,
    Number,
    exact_in_protobuf,
)
from jsonvalues.writing import canonical, compact

__all__ = [
    "PROTOBUF_LEVELS",
    "Json",
    "JsonMapping",
    "JsonObject",
    "JsonValue",
    "NameTwice",
    "NotANumber",
    "NotJson",
    "NothingThere",
    "Number",
    "PointerMalformed",
    "at",
    "canonical",
    "compact",
    "exact_in_protobuf",
    "fits_int64",
    "parse",
    "parse_object",
    "parse_strict",
    "plain_number",
    "scalar_text",
]
