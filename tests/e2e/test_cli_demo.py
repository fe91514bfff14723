"""`nagaya dev demo` as a newcomer sees it: twice, with an interruption before."""

from __future__ import annotations

import hashlib
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.e2e.article import EXAMPLE

if TYPE_CHECKING:
    from tests.support.stack import LocalStack

NAGAYA = Path(sys.executable).with_name("nagaya")
_RUN = re.compile(r"^\S.* \((acme|globex)\): run ([0-9a-f-]{36}) (\w+)$", re.MULTILINE)
_FOLDER = re.compile(r"^  (\d+) files in (\S+),$", re.MULTILINE)
_FILE = re.compile(r"^  ([0-9a-f]{64})  (\S+)$")


@pytest.fixture
def clone(stack: LocalStack) -> Path:
    """The folder of the stack, with the example as a clone has it."""
    example = stack.layout.root / "examples" / "article"
    if not example.exists():
        shutil.copytree(EXAMPLE, example)
    return stack.layout.root


def demo(clone: Path) -> str:
    done = subprocess.run(
        [NAGAYA, "dev", "demo"], cwd=clone, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.timeout(240)
def test_the_demo_runs_two_customers_to_the_end_however_often_it_is_shown(clone: Path) -> None:
    interrupt(clone)
    first = demo(clone)
    began = time.monotonic()
    second = demo(clone)
    took = time.monotonic() - began

    assert took < 30
    runs = [_RUN.findall(shown) for shown in (first, second)]
    assert [[(who, state) for who, _, state in shown] for shown in runs] == [
        [("acme", "completed"), ("globex", "completed")]
    ] * 2
    assert len({run_id for shown in runs for _, run_id, _ in shown}) == 4
    for shown in (first, second):
        assert shown.count("pipeline article version 1\n") == 2
        check_files(clone, shown)
        check_models(shown)
        check_where(shown)
    databases = [re.findall(r"t_[0-9a-z]{26}", shown) for shown in (first, second)]
    assert len(set(databases[0])) == 2
    assert set(databases[0]) == set(databases[1])


def interrupt(clone: Path) -> None:
    """Press Ctrl-C as soon as the runs go on."""
    with subprocess.Popen(
        [NAGAYA, "dev", "demo"],
        cwd=clone,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "outline" in line:
                process.send_signal(signal.SIGINT)
                break
        _, errors = process.communicate()
    assert process.returncode == 130
    assert "the stack is up and the runs go on" in errors
    assert "Traceback" not in errors


def check_files(clone: Path, shown: str) -> None:
    """Every file that is named lies where it is said to, with the sha256 that is said."""
    folders = _FOLDER.findall(shown)
    assert len(folders) == 2
    folder = clone
    checked = 0
    for line in shown.splitlines():
        if match := _FOLDER.match(line):
            folder = clone / match[2]
            assert sum(file.is_file() for file in folder.rglob("*")) == int(match[1])
        elif match := _FILE.match(line):
            content = (folder / match[2]).read_bytes()
            assert hashlib.sha256(content).hexdigest() == match[1]
            checked += 1
    assert checked >= 2 * len(("input", "outline", "research", "draft", "review", "polish"))


def check_models(shown: str) -> None:
    """Globex drafts with a model of its own; everybody else with the default."""
    acme, globex = shown[_RUN.search(shown).start() :].split("Globex Media (globex)")  # pyright: ignore[reportOptionalMemberAccess]
    drafts = {
        who: {tuple(line.split()[3:5]) for line in text.splitlines() if is_draft(line)}
        for who, text in (("acme", acme), ("globex", globex))
    }
    assert drafts["acme"] == {("claude/claude-sonnet-5-5", "step_default")}
    assert drafts["globex"] == {("gemini/gemini-4-argon", "tenant_override")}
    assert all(
        re.search(r"^  total +[\d,]+ +\$\d\.\d{4} +\d+\.\d$", text, re.MULTILINE)
        for text in (acme, globex)
    )


def is_draft(line: str) -> bool:
    return re.match(r"  draft +\d+ +completed ", line) is not None


def check_where(shown: str) -> None:
    assert shown.count("the last lines of its audit log:") == 2
    assert re.search(r"user@globex +call\.settle +call +\S+/polish/0-1/1", shown)
    assert re.search(r"^Temporal    127\.0\.0\.1:\d+", shown, re.MULTILINE)
    assert "The stack is up and stays up." in shown
    assert "run list --tenant acme" in shown
