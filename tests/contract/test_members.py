"""Every member of the workspace installs alone: it declares whatever it imports."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

CLONE = Path(__file__).resolve().parents[2]
MEMBERS = sorted(file.parent for file in CLONE.glob("*/*/pyproject.toml"))
GENERATED = {"buf": "nagaya-protos", "nagaya": "nagaya-protos"}


def _project(member: Path) -> dict[str, Any]:
    return tomllib.loads((member / "pyproject.toml").read_text())["project"]


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _declared(member: Path) -> set[str]:
    project = _project(member)
    optional: dict[str, list[str]] = project.get("optional-dependencies", {})
    dependencies: list[str] = [*project["dependencies"], *chain.from_iterable(optional.values())]
    return {_canonical(re.split(r"[^\w.-]", item)[0]) for item in dependencies}


def _package(member: Path) -> str:
    (folder,) = (path for path in (member / "src").iterdir() if path.is_dir())
    return folder.name


def _imported(member: Path) -> set[str]:
    files = (member / "src").rglob("*.py")
    trees = (ast.parse(file.read_bytes(), file) for file in files)
    names = {name.split(".")[0] for tree in trees for name in _names(tree)}
    return names - sys.stdlib_module_names - {_package(member)}


def _names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def _distributions() -> dict[str, set[str]]:
    """Which distributions provide a top-level package; several share one such as `google`."""
    third = {name: set(map(_canonical, found)) for name, found in packages_distributions().items()}
    ours = {_package(member): {str(_project(member)["name"])} for member in MEMBERS}
    return third | ours | {name: {provider} for name, provider in GENERATED.items()}


@pytest.mark.parametrize(
    "member", [pytest.param(member, id=str(member.relative_to(CLONE))) for member in MEMBERS]
)
def test_a_member_declares_what_it_imports(member: Path) -> None:
    providers, declared = _distributions(), _declared(member)

    undeclared = {
        name for name in _imported(member) if declared.isdisjoint(providers.get(name, {name}))
    }

    assert undeclared == set()
