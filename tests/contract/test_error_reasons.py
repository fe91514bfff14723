"""The reasons of the contracts, the classes that name them, and the `Errors:` lists agree."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from docs.error_classes import ERRORS, classes_of
from docs.generate import Reason, comments, contracts, reasons

from servicekit.status import code_of

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

    from servicekit.errors import DomainError

CLONE = Path(__file__).resolve().parents[2]
SOURCES = {package: f"services/{package.replace('_', '-')}/src" for package in ERRORS} | {
    "options": "libs"
}
PACKAGES = sorted(ERRORS)
SERVICES = [package for package in PACKAGES if package != "options"]
_LISTED = re.compile(r"^- ([A-Z_]+) `(\w+)`: \S.*\.$")
_AS_ANOTHER = re.compile(r"^(?:[A-Z_]+ )?as ([A-Z]\w+)\.$")
_SERVICE = 6
_METHOD = 2


@pytest.fixture(scope="module")
def files() -> list[FileDescriptorProto]:
    return contracts()


@pytest.fixture(scope="module")
def known(files: list[FileDescriptorProto]) -> dict[str, tuple[Reason, ...]]:
    return reasons(files)


def _lists(files: list[FileDescriptorProto], package: str) -> dict[str, list[str]]:
    """Return the items of each method's `Errors:` list, or what it says instead of a list."""
    found: dict[str, list[str]] = {}
    for file in files:
        for path, comment in comments(file).items():
            is_method = len(path) == 4 and (path[0], path[2]) == (_SERVICE, _METHOD)
            if is_method and file.package == f"nagaya.{package}.v1":
                name = file.service[path[1]].method[path[3]].name
                items = re.split(r"\n (?=- )", comment.partition("Errors:")[2].strip())
                found[name] = [" ".join(item.split()) for item in items if item]
    return found


def _named(package: str) -> set[str]:
    """Find the names that a package's code uses, its errors aside."""
    files = (CLONE / SOURCES[package]).rglob("*.py")
    trees = (
        ast.parse(file.read_bytes())
        for file in files
        if "errors" not in (file.stem, file.parent.name)
    )
    nodes = (node for tree in trees for node in ast.walk(tree))
    return {
        node.id if isinstance(node, ast.Name) else node.attr
        for node in nodes
        if isinstance(node, ast.Name | ast.Attribute)
    }


def _metadata(kind: type[DomainError]) -> set[str] | None:
    """Return the keys that a class's own `__init__` fills in; None when whoever raises it does."""
    if "__init__" not in vars(kind):
        return None
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    (call,) = (c for c in calls if isinstance(c.func, ast.Attribute) and c.func.attr == "__init__")
    keys = {keyword.arg for keyword in call.keywords} - {"violations"}
    return None if None in keys else {key for key in keys if key is not None}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_reason_of_the_contract_has_a_class_that_is_raised(
    package: str, known: dict[str, tuple[Reason, ...]]
) -> None:
    named = _named(package)

    for reason in known[package]:
        used = [kind for kind in reason.classes if kind.__name__ in named]
        assert used, f"{reason.name} is raised by nothing"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_class_names_a_reason_of_the_contract(
    package: str, known: dict[str, tuple[Reason, ...]]
) -> None:
    own = {kind.reason for kind in classes_of(package) if kind.reason}

    assert own <= {reason.name for reason in known[package]}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_reason_has_one_status_and_says_what_its_metadata_holds(
    package: str, known: dict[str, tuple[Reason, ...]]
) -> None:
    for reason in known[package]:
        codes = {code_of(kind).name for kind in reason.classes}
        assert len(codes) == 1, reason.name
        if package not in SERVICES:
            assert reason.comment.startswith(f"{codes.pop()}: ")
        for kind in reason.classes:
            metadata = _metadata(kind)
            assert metadata in (None, set(reason.metadata)), kind.__name__


@pytest.mark.parametrize("package", SERVICES)
def test_every_reason_of_a_service_is_listed_by_a_method_with_its_status(
    package: str, files: list[FileDescriptorProto], known: dict[str, tuple[Reason, ...]]
) -> None:
    statuses = {reason.name: code_of(reason.classes[0]).name for reason in known[package]}
    lists = _lists(files, package)
    listed: set[str] = set()

    for method, items in lists.items():
        for item in items:
            if another := _AS_ANOTHER.match(item):
                assert lists[another[1]], f"{method}: {item}"
                continue
            listing = _LISTED.match(item)
            assert listing, f"{method}: {item!r} is not `- STATUS `ERROR_REASON_…`: why.`"
            assert listing[1] == statuses.get(listing[2]), f"{method}: {item}"
            listed.add(listing[2])

    assert listed == set(statuses)
