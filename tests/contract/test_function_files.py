"""A function may write exactly those files that the contract of artifacts takes."""

from __future__ import annotations

import protovalidate
import pytest

from nagaya.artifacts.v1 import artifact_pb2
from nagaya_functions import StepError
from nagaya_functions.files import check_file

RUN = "00000000-0000-4000-8000-000000000001"


def taken_by_the_contract(name: str, file_type: str) -> bool:
    draft = artifact_pb2.ArtifactDraft(
        run_id=RUN, step="s", name=f"artifacts/1000000-10000/{name}", file_type=file_type
    )
    try:
        protovalidate.validate(draft)
    except protovalidate.ValidationError:
        return False
    return True


def taken_from_functions(name: str, file_type: str) -> bool:
    try:
        check_file(name, b"", file_type)
    except StepError:
        return False
    return True


@pytest.mark.parametrize(
    "name",
    [
        *("a", "A.b_c-9", "a/b/c/d/e/f", "a/b/c/d/e/f/g", "", "/a", "a/", "a//b", ".a", "-a"),
        *("a b", "ä", "../a", "a/../b", "a" * 128, "a" * 129, "a\n", "/".join(["a" * 90] * 5)),
    ],
)
def test_a_file_has_the_names_that_artifacts_takes(name: str) -> None:
    assert taken_from_functions(name, "text/csv") == taken_by_the_contract(name, "text/csv")


@pytest.mark.parametrize(
    "file_type",
    [
        *("text/csv", "application/vnd.x+json", "text", "text/", "/csv", "Text/csv", "text/csv\n"),
        *("text/csv; a=b", "a" * 200 + "/b", "a/" + "b" * 127, "a/" + "b" * 128),
    ],
)
def test_a_file_has_the_media_types_that_artifacts_takes(file_type: str) -> None:
    assert taken_from_functions("a", file_type) == taken_by_the_contract("a", file_type)


@pytest.mark.parametrize("name", ["output.json", "call-1.json", "error-12.json"])
def test_a_function_cannot_write_what_the_worker_or_the_gateway_writes(name: str) -> None:
    assert not taken_from_functions(name, "application/json")
