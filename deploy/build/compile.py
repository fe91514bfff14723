"""Compiles the bytecode of the stack's programs, on two cores, by importing them.

Otherwise the first `make up` does it: six processes at once, each the modules that all share.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib.util import find_spec

GROUPS = (
    ("runs.worker",),
    (
        "runs",
        "artifacts",
        "llm_gateway",
        "tenant",
        "llmstub",
        "nagaya_local.supervisor.supervise",
        "nagaya_local.cli",
    ),
)
"""Programs as `python -m` takes them, in groups that take about as long."""


def main(programs: list[str]) -> int:
    sys.dont_write_bytecode = False  # whatever PYTHONDONTWRITEBYTECODE says: writing is the purpose
    for program in programs:
        _import(program)
    if programs:
        return 0
    children = [subprocess.Popen([sys.executable, __file__, *group]) for group in GROUPS]
    return max(child.wait() for child in children)


def _import(program: str) -> None:
    spec = find_spec(program)
    is_package = spec is not None and spec.submodule_search_locations is not None
    importlib.import_module(f"{program}.__main__" if is_package else program)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
