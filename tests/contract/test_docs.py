"""The generated pages are fresh, and docs/settings.md holds whatever the code reads."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from docs.settings import OTHER_SETTINGS, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

CLONE = Path(__file__).resolve().parents[2]
MEMBERS = sorted(file.parent for file in CLONE.glob("*/*/pyproject.toml"))
READERS = {"get", "getenv", "pop", "setdefault"}
OURS = re.compile(r"\b(?:(?:NAGAYA|S3)_[A-Z_]*[A-Z]|TEMPORAL_ADDRESS)\b")


def _is_environment(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name in {"environ", "environment", "os"}


def _read_directly(member: Path) -> Iterator[str]:
    """Find the variables that a member reads by their names, not through an Environment."""
    for file in (member / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_bytes(), file)):
            match node:
                case ast.Call(
                    ast.Attribute(source, attr=reader), [ast.Constant(str(name)), *_]
                ) if reader in READERS and _is_environment(source):
                    yield name
                case ast.Subscript(source, ast.Constant(str(name))) if _is_environment(source):
                    yield name
                case ast.Compare(ast.Constant(str(name)), [ast.In()], [source]) if _is_environment(
                    source
                ):
                    yield name
                case _:
                    pass


def test_the_committed_pages_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "docs.generate", "--check"],
        cwd=CLONE,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "member", [pytest.param(member, id=str(member.relative_to(CLONE))) for member in MEMBERS]
)
def test_a_setting_that_code_does_not_describe_is_described_by_hand(member: Path) -> None:
    packages = [folder.name for folder in (member / "src").glob("*/")]
    listed = {setting.name for package in packages for setting in OTHER_SETTINGS.get(package, ())}

    assert set(_read_directly(member)) == listed


def test_every_setting_that_code_or_texts_name_is_read_and_documented() -> None:
    known = {setting.name for found in settings().values() for setting in found}
    texts = [*CLONE.glob("*.md"), *CLONE.glob("*/*.md"), *CLONE.glob("*/*/*.md")]
    code = (file for member in MEMBERS for file in (member / "src").rglob("*.py"))

    named = {name for file in (*texts, *code) for name in OURS.findall(file.read_text())}

    assert named <= known
