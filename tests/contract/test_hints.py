"""Hints of services name calls; whoever sits at the command line is told commands."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from google.protobuf import descriptor_pool

from nagaya.options.v1 import error_reason_pb2
from nagaya_client.cli.hints import BY_REASON, in_commands
from nagaya_client.cli.main import nagaya
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import Iterator

CLONE = Path(__file__).resolve().parents[2]
PROTOS = CLONE / "protos"
_WORD = re.compile(r"\w+")


def _calls() -> set[str]:
    found: set[str] = set()
    for file in PROTOS.glob("nagaya/*/v1/*_service.proto"):
        name = file.relative_to(PROTOS).as_posix()
        importlib.import_module(name.removesuffix(".proto").replace("/", ".") + "_pb2")
        for service in descriptor_pool.Default().FindFileByName(name).services_by_name.values():
            found |= {method.name for method in service.methods}
    return found


def _errors(kind: type[DomainError]) -> Iterator[type[DomainError]]:
    for error in kind.__subclasses__():
        yield error
        yield from _errors(error)


def _hints() -> list[tuple[str, str]]:
    """Every error of ours that has a hint; those of all services, and of what they share."""
    for folder in ("services", "libs"):
        for file in (CLONE / folder).glob("*/src/**/*.py"):
            if "errors" in (file.stem, file.parent.name):
                parts = file.relative_to(CLONE).with_suffix("").parts[3:]
                importlib.import_module(".".join(parts).removesuffix(".__init__"))
    hints = {f"{error.__module__}.{error.__name__}": error.hint for error in _errors(DomainError)}
    return sorted((name, hint) for name, hint in hints.items() if hint)


CALLS = _calls()
HINTS = _hints()


def test_there_are_calls_in_hints() -> None:
    named = {word for _, hint in HINTS for word in _WORD.findall(hint)} & CALLS
    assert {"ListRuns", "ListTenants", "ListArtifacts", "ListCalls", "CreateUpload"} <= named


@pytest.mark.parametrize(("error", "hint"), HINTS, ids=[name for name, _ in HINTS])
def test_a_call_in_a_hint_is_written_as_a_command(error: str, hint: str) -> None:
    with click.Context(nagaya, info_name="nagaya"):
        rewritten = in_commands(hint)

    assert CALLS.isdisjoint(_WORD.findall(rewritten)), error
    named = [word for word in _WORD.findall(hint) if word in CALLS]
    assert rewritten.count("`nagaya ") == len(named)


def test_what_is_added_to_a_reason_is_added_to_one_that_there_is() -> None:
    assert set(BY_REASON) <= set(error_reason_pb2.ErrorReason.keys())
