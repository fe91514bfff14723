from __future__ import annotations

import pytest

from artifacts.domain.keys import BucketLayout
from artifacts.domain.writers import check_writer, needs_held_run, run_not_held_error
from artifacts.errors import PathReserved

LAYOUT = BucketLayout("storage")
RUN = "0190b5a6-7c2e-7e1c-9d2a-000000000001"
PERSON = None

OUTPUTS = [
    ("draft", "output.json"),
    ("draft", "artifacts/3-2/output.json"),
    ("draft", "artifacts/0-1/error-1.json"),
    ("draft", "artifacts/notes.txt"),
    ("inputs", "output.json"),
    # Not quite a reply's name:
    ("draft", "artifacts/call-1.json"),
    ("draft", "artifacts/0-1/call-1.json5"),
    ("draft", "artifacts/0-1/call-notes.json"),
    ("draft", "artifacts/0-1/recall-1.json"),
    ("draft", "artifacts/0-1-1/call-1.json"),
    ("draft", "artifacts/0-1/deeper/call-1.json"),
]
INPUTS = [
    ("input", "output.json"),
    ("input", "artifacts/pictures/1.png"),
    ("input", "artifacts/0-1/call-notes.json"),
]
REPLIES = [
    ("draft", "artifacts/0-1/call-1.json"),
    ("draft", "artifacts/12-3/call-40.json"),
    ("draft", "artifacts/0-1/call-1.json/in-its-way"),
    ("input", "artifacts/0-1/call-1.json"),
    ("input", "artifacts/0-1/call-1.json/in/its/way"),
]


@pytest.mark.parametrize(("step", "name"), OUTPUTS)
def test_what_a_run_leaves_behind_is_written_by_runs(step: str, name: str) -> None:
    assert _writers(step, name) == {"runs"}


@pytest.mark.parametrize(("step", "name"), INPUTS)
def test_what_a_run_is_given_is_written_by_people_and_by_runs(step: str, name: str) -> None:
    assert _writers(step, name) == {PERSON, "runs"}


@pytest.mark.parametrize(("step", "name"), REPLIES)
def test_the_reply_of_a_call_is_written_by_the_gateway_in_every_step(step: str, name: str) -> None:
    assert _writers(step, name) == {"llm-gateway"}


def test_a_refusal_says_where_and_who_writes_there() -> None:
    key = LAYOUT.key("acme", RUN, "draft", "artifacts/0-1/call-1.json")

    with pytest.raises(PathReserved) as refused:
        check_writer(key, PERSON)
    assert refused.value.metadata == {"path": key.path, "writer": "llm-gateway"}


def test_only_for_people_it_matters_whether_the_run_is_held() -> None:
    assert [who for who in (PERSON, "runs", "llm-gateway") if needs_held_run(who)] == [PERSON]

    refusal = run_not_held_error(LAYOUT.key("acme", RUN, "input", "output.json"))
    assert refusal.metadata["writer"] == "runs"
    assert "the run is not held" in refusal.message


def _writers(step: str, name: str) -> set[str | None]:
    """Return who may write a file, of all who may call."""
    return {who for who in (PERSON, "runs", "llm-gateway", "tenant") if _may(who, step, name)}


def _may(who: str | None, step: str, name: str) -> bool:
    try:
        check_writer(LAYOUT.key("acme", RUN, step, name), who)
    except PathReserved:
        return False
    return True
