"""Requests: what makes two of them the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from llm_gateway.domain.calls import CallKey
from llm_gateway.domain.models import ModelClass, ModelId
from llm_gateway.domain.requests import (
    CallRequest,
    FilePointer,
    Message,
    Role,
    Text,
    UnknownPolicy,
)
from llm_gateway.domain.schemas import OutputSchema

# Keys are in ledgers: another digest would refuse every call that is tried again.
DIGEST = "8265ee1d831323c74450c8a35b740cc3f17e4dc0c69c09046ae685d09e05056f"
KEY = CallKey(UUID(int=1), "draft", 0, 1, 1)
REQUEST = CallRequest(
    tenant_id="acme",
    key=KEY,
    system=(Text("You write."),),
    messages=(Message(Role.USER, (Text("About"), FilePointer("p", "d" * 64, "/a"))),),
    model=None,
    run_model=None,
    max_output_tokens=100,
    temperature=None,
    output_schema=OutputSchema({"type": "object", "title": "x"}),
    unknown_policy=UnknownPolicy.FAIL,
)


def test_a_digest_is_the_same_in_every_process() -> None:
    assert REQUEST.digest == DIGEST
    schema = OutputSchema({"title": "x", "type": "object"})
    assert replace(REQUEST, output_schema=schema).digest == REQUEST.digest


@pytest.mark.parametrize(
    "change",
    [
        {"key": replace(KEY, call=2)},
        {"unknown_policy": UnknownPolicy.REDO},
        {"user_id": "ada", "request_id": "r"},
    ],
)
def test_key_policy_and_caller_are_not_part_of_the_digest(change: dict[str, Any]) -> None:
    assert replace(REQUEST, **change).digest == REQUEST.digest


@pytest.mark.parametrize(
    "change",
    [
        {"system": ()},
        {"messages": (Message(Role.USER, (Text("About "), FilePointer("p", "d" * 64, "/a"))),)},
        {"messages": (Message(Role.ASSISTANT, REQUEST.messages[0].parts),)},
        {"messages": (Message(Role.USER, (Text("About"), FilePointer("p", "e" * 64, "/a"))),)},
        {"messages": (Message(Role.USER, (Text("About"), FilePointer("p", "d" * 64, "/b"))),)},
        {"messages": (Message(Role.USER, (Text("Ab"), Text("out"))),)},
        {"model": ModelId("m")},
        {"model": ModelClass("claude", "pro")},
        {"run_model": ModelClass("claude", "pro")},
        {"max_output_tokens": 0},
        {"temperature": 0.0},
        {"output_schema": None},
    ],
)
def test_everything_else_is(change: dict[str, Any]) -> None:
    assert replace(REQUEST, **change).digest != REQUEST.digest


def test_a_choice_of_the_request_is_not_one_of_the_run() -> None:
    chosen = ModelClass("claude", "pro")

    assert replace(REQUEST, model=chosen).digest != replace(REQUEST, run_model=chosen).digest


def test_a_reply_lies_where_the_contract_says() -> None:
    key = CallKey(UUID(int=1), "research", 3, 2, 7)

    assert key.path("acme") == (
        "storage/acme/00000000-0000-0000-0000-000000000001/research/artifacts/3-2/call-7.json"
    )
