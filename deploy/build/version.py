"""The version of all parts stands in the file VERSION; this writes it to where tools look for it.

    python deploy/build/version.py [--check]

Members require each other in exactly this version: an upgrade of one alone would leave the others
as they are.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[2]
_FORM = re.compile(r"\d+\.\d+\.\d+")  # what Python, npm, Go, Maven and images all take
_MEMBERS = (
    "clients/python/pyproject.toml",
    "deploy/local/pyproject.toml",
    "libs/*/pyproject.toml",
    "protos/gen/python/pyproject.toml",
    "services/*/pyproject.toml",
)
_JAVA = r"(<artifactId>nagaya-java</artifactId>\n +<version>).+(</version>)"
PLACES = (
    *((path, r'(?m)^(version = ").+(")$') for path in _MEMBERS),
    *((path, r'(?<!name = )("nagaya-[a-z-]+(?:\[[a-z]+\])?)(?:==[^"]+)?(")') for path in _MEMBERS),
    ("clients/java/pom.xml", _JAVA),
    ("clients/java/*/pom.xml", _JAVA),
    ("clients/typescript/package.json", r'(?m)^(  "version": ").+(",)$'),
    ("clients/typescript/package-lock.json", r'(\A\{\n.*\n  "version": ").+(",)'),
    ("clients/typescript/package-lock.json", r'("": \{\n.*\n +"version": ").+(",)'),
    ("deploy/Containerfile", r"(?m)^(ARG VERSION=).+($)"),
    ("deploy/compose/compose.yaml", r"(\$\{NAGAYA_VERSION:-).+?(\})"),
    ("deploy/k8s/base/kustomization.yaml", r'(?m)^( +newTag: ").+(")$'),
)
"""Files, and expressions for what stands in them before and behind the version."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when a file says another one")
    check = parser.parse_args(arguments).check
    version = (ROOT / "VERSION").read_text().strip()
    if not _FORM.fullmatch(version):
        print(f"VERSION: {version} is not MAJOR.MINOR.PATCH", file=sys.stderr)
        return 1
    stale = {path: text for path, text in _written(version) if path.read_text() != text}
    if not check:
        for path, text in stale.items():
            path.write_text(text)
        return 0
    for path in stale:
        print(f"{path.relative_to(ROOT)} is not of {version}: run `make version`", file=sys.stderr)
    return 1 if stale else 0


def _written(version: str) -> Iterator[tuple[Path, str]]:
    """Yield each file and its text with the version. Raises ValueError for a place without one."""
    places: dict[Path, list[str]] = {}
    for pattern, expression in PLACES:
        for path in sorted(ROOT.glob(pattern)):
            places.setdefault(path, []).append(expression)
    for path, expressions in places.items():
        text = path.read_text()
        for expression in expressions:
            text = re.sub(expression, lambda found: _with_version(found, version), text)
        if version not in text:
            raise ValueError(f"{path.relative_to(ROOT)} has no version")
        yield path, text


def _with_version(found: re.Match[str], version: str) -> str:
    requires = "" if not found[1].startswith('"nagaya-') else "=="
    return f"{found[1]}{requires}{version}{found[2]}"


if __name__ == "__main__":
    sys.exit(main())
