"""The words of the code: old private ones do not come back, shared ones are in the glossary."""

from __future__ import annotations

import ast
import re
import sys
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("bench", "clients", "deploy", "docs", "examples", "libs", "protos", "services", "tests")
OTHERS = {"gen", "node_modules", "histories", "migrations"}  # generated, recorded, or published
TEXTS = ("*.md", "*.proto", "*.go", "*.java", "*.ts")
GLOSSARY = ROOT / "docs" / "glossary.md"

# What they were called before the code took over the terms of gRPC, PostgreSQL and Temporal.
OLD_WORDS = frozenset(
    {
        "asking",
        "beginnings",
        "desk",
        "endings",
        "flight",
        "guard",
        "guarded",
        "heard",
        "house",
        "incarnation",
        "journey",
        "keeper",
        "passage",
        "patience",
        "patiently",
        "scene",
        "served",
        "setups",
        "silence",
        "steward",
        "told",
        "wall",
        "wish",
    }
)
OLD_NAMES = ("come_back", "wall_off", "let_in", "show_demo")
# The same in sentences, without those that are plain English there.
OLD_PROSE = re.compile(
    r"(?<!in[ -])(?<!single[ -])"
    r"\b(journey|flight|steward|passage|house|keeper|incarnation|scene|guard)s?\b",
    re.IGNORECASE,
)
# Names of columns, which published migrations fix.
PUBLISHED = {("services/tenant/src/tenant/store/tenants.py", "steward")}
_PART = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")


def main() -> int:
    faults = [*_old_words(), *_missing_in_glossary()]
    print(*faults, sep="\n", file=sys.stderr, end="\n" if faults else "")
    print(f"words: {len(faults)} to be replaced or explained")
    return 1 if faults else 0


def _old_words() -> Iterator[str]:
    for file in sorted(_files("*.py")):
        if file == Path(__file__).resolve():
            continue
        path = file.relative_to(ROOT)
        if _is_old(file.stem):
            yield f"{path}: an old word in its name"
        for line, word in _of_python(file):
            if (path.as_posix(), word) not in PUBLISHED:
                yield f"{path}:{line}: {word}"
    for file in sorted([*ROOT.glob("*.md"), *(text for kind in TEXTS for text in _files(kind))]):
        for number, line in enumerate(file.read_text().splitlines(), 1):
            for found in OLD_PROSE.finditer(line):
                yield f"{file.relative_to(ROOT)}:{number}: {found.group()}"


def _of_python(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the word of each first use of an old name, and of each old word."""
    seen: set[str] = set()
    with file.open("rb") as source:
        for token in tokenize.tokenize(source.readline):
            text = token.string
            if token.type == tokenize.NAME and text not in seen and _is_old(text):
                seen.add(text)
                yield token.start[0], text
            elif token.type in (tokenize.COMMENT, tokenize.STRING):
                yield from ((token.start[0], word.group()) for word in OLD_PROSE.finditer(text))


def _is_old(name: str) -> bool:
    parts = [part.lower() for part in _PART.findall(name)]
    for previous, part in zip(["", *parts], parts, strict=False):
        old = part in OLD_WORDS or part.removesuffix("s") in OLD_WORDS
        if old and not (previous == "in" and part.startswith("flight")):
            return True
    return any(old in name for old in OLD_NAMES)


def _missing_in_glossary() -> Iterator[str]:
    """Yield the class names that two packages use and that the glossary does not have."""
    text = GLOSSARY.read_text()
    owners: dict[str, set[str]] = {}
    users: dict[tuple[str, str], set[str]] = {}
    for file in _files("*.py"):
        parts = file.relative_to(ROOT).parts
        if "src" in parts:
            package = parts[parts.index("src") + 1]
            tree = ast.parse(file.read_bytes(), file)
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    owners.setdefault(node.name, set()).add(package)
            for owner, name in _used_names(tree):
                users.setdefault((owner, name), set()).add(package)
    for name, packages in sorted(owners.items()):
        used = packages.union(*(users.get((owner, name), set()) for owner in packages))
        if len(used) > 1 and f"`{name}`" not in text:
            yield f"docs/glossary.md: {name} is used in {', '.join(sorted(used))}"


def _used_names(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield the package and the name of what is imported, or reached through an import."""
    owners: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            owner = node.module.partition(".")[0]
            for name in node.names:
                owners[name.asname or name.name] = owner
                yield owner, name.name
    reached = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    for node in reached:
        if isinstance(node.value, ast.Name) and node.value.id in owners:
            yield owners[node.value.id], node.attr


def _files(pattern: str) -> Iterator[Path]:
    for folder in FOLDERS:
        for file in (ROOT / folder).rglob(pattern):
            if not OTHERS.intersection(file.relative_to(ROOT).parts):
                yield file


if __name__ == "__main__":
    sys.exit(main())
