"""Pages of docs/, followed to the letter: files are written, commands run, in the page's order."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CLONE = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE_NAME = re.compile(r"`([\w./-]+)`:\s*\Z")


@dataclass(frozen=True)
class Block:
    """A block of code: `file` is the name that the text before it gives, if it gives one."""

    language: str
    text: str
    file: str | None


def blocks(page: str, names: Mapping[str, str]) -> Iterator[Block]:
    """Yield the blocks of a page of this repository, with these words replaced."""
    text = (CLONE / page).read_text()
    for found in _BLOCK.finditer(text):
        code = found[2]
        for name, replacement in names.items():
            code = re.sub(rf"\b{re.escape(name)}\b(?!-)", replacement, code)
        named = _FILE_NAME.search(text[: found.start()])
        yield Block(found[1], code, named[1] if named else None)


def follow(page: str, folder: Path, names: Mapping[str, str]) -> str:
    """Do what a page says in a folder of the stack's, and return what the commands wrote.

    The stack runs, so `make` does nothing. Raises AssertionError with what a failed command said.
    """
    lines = ["set -euo pipefail", "make() { :; }", "set -v"]
    for number, block in enumerate(blocks(page, names)):
        if block.file is not None:
            content = folder / f".block-{number}"
            content.write_text(block.text)
            lines += [f"cp {shlex.quote(str(content))} {shlex.quote(block.file)}"]
        elif not block.language:
            lines += [block.text.replace("$PWD/.venv/bin", str(Path(sys.executable).parent))]
    done = subprocess.run(
        ["/bin/bash", "-c", "\n".join(lines)],
        cwd=folder,
        env=os.environ | {"NAGAYA_TENANT": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{page} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout
