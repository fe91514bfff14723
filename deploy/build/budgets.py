"""The sizes that hand-written Python and pages keep to; what outgrows them is split by noun."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("bench", "clients", "deploy", "docs", "examples", "libs", "protos", "services", "tests")
OTHERS = {"gen", "node_modules"}  # generated, or not ours

FILE = 300
MAIN = 120
FUNCTION = 40
SERVICER_METHOD = 12
README_WORDS = 900  # details go to docs/
PAGE_WIDTH = 100
GENERATED = "Made by `make docs`"
# What all services share stays small enough to be read.
LIBRARIES = {"dataplane": 2_200, "functions": 800, "interceptor": 1_600, "servicekit": 2_000}


def main() -> int:
    files = [ROOT / name for name in _hand_written()]
    excesses = [excess for file in files for excess in _of_file(file)]
    for library, limit in LIBRARIES.items():
        folder = ROOT / "libs" / library / "src"
        if (lines := sum(_lines(file) for file in files if file.is_relative_to(folder))) > limit:
            excesses.append(f"libs/{library}: {lines} lines, at most {limit}")
    excesses.extend(excess for page in _pages() for excess in _of_page(page))
    print(*excesses, sep="\n", file=sys.stderr, end="\n" if excesses else "")
    print(f"sizes: {len(files)} files, {len(excesses)} over budget")
    return 1 if excesses else 0


def _hand_written() -> Iterator[Path]:
    for folder in FOLDERS:
        for file in sorted((ROOT / folder).rglob("*.py")):
            path = file.relative_to(ROOT)
            if not OTHERS.intersection(path.parts):
                yield path


def _pages() -> Iterator[Path]:
    yield from sorted(ROOT.glob("*.md"))
    for folder in FOLDERS:
        for file in sorted((ROOT / folder).rglob("*.md")):
            # A prompt's lines are its text.
            if not {*OTHERS, "prompts"}.intersection(file.relative_to(ROOT).parts):
                yield file


def _of_page(file: Path) -> Iterator[str]:
    path, text = file.relative_to(ROOT), file.read_text()
    words = len(re.findall(r"\S*\w\S*", text))
    if file.name == "README.md" and words > README_WORDS:
        yield f"{path}: {words} words, at most {README_WORDS}"
    if GENERATED in text:
        return
    in_code = False
    for number, line in enumerate(text.splitlines(), 1):
        in_code ^= line.lstrip().startswith(("```", "~~~"))
        whole = line.lstrip().startswith("|") or "](" in line or "]: " in line
        if len(line) > PAGE_WIDTH and not in_code and not whole:
            yield f"{path}:{number}: {len(line)} characters, at most {PAGE_WIDTH}"


def _of_file(file: Path) -> Iterator[str]:
    path = file.relative_to(ROOT)
    limit = MAIN if file.name == "__main__.py" else FILE
    if (lines := _lines(file)) > limit:
        yield f"{path}: {lines} lines, at most {limit}"
    if path.parts[0] == "tests":
        return
    for function, limit in _functions(file):
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        if lines > limit:
            yield f"{path}:{function.lineno}: {function.name}: {lines} lines, at most {limit}"


def _functions(file: Path) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, int]]:
    in_servicer = "servicer" in (file.stem, file.parent.name)
    tree = ast.parse(file.read_bytes(), file)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            is_method_of_the_contract = in_servicer and node.name[0].isupper()
            yield node, SERVICER_METHOD if is_method_of_the_contract else FUNCTION


def _lines(file: Path) -> int:
    return len(file.read_bytes().splitlines())


if __name__ == "__main__":
    sys.exit(main())
