"""The processes import only what they need."""

from __future__ import annotations

import subprocess
import sys

import pytest

TERMINAL = {"click", "prompt_toolkit", "rich", "typer"}
CEL_COMMAND = {"prompt_toolkit", "typer"}
GRAPHS = {"langchain_core", "langgraph", "langsmith"}


@pytest.mark.parametrize(
    ("module", "needless"),
    [
        ("runs.__main__", TERMINAL | GRAPHS),
        ("runs.worker.process", CEL_COMMAND),  # httpx, which LangSmith imports, takes the others
        ("runs.auditor", TERMINAL | GRAPHS),
        ("runs.worker.function_host.__main__", TERMINAL | GRAPHS | {"grpc", "temporalio"}),
    ],
)
def test_a_process_imports_only_what_it_needs(module: str, needless: set[str]) -> None:
    program = f"import sys, {module}; print(*sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )

    loaded = {name.partition(".")[0] for name in ended.stdout.split()}
    assert "jsonvalues" in loaded
    assert loaded & needless == set()


def test_a_worker_without_its_extra_says_what_to_install() -> None:
    program = (
        "import runpy, sys; sys.modules['langgraph'] = None; "
        "runpy.run_module('runs.worker', run_name='__main__')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.returncode == 1
    assert ended.stderr.endswith("install nagaya-runs[worker]\n")
    assert "Traceback" not in ended.stderr
