"""The examples' distributions pass their own tests, installed as their authors install them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
BUILD = "import sys, uv_build; print(uv_build.build_wheel(sys.argv[1]))"


@pytest.mark.parametrize(("example", "passed"), [("word-count", 2), ("drafted-sections", 3)])
def test_an_examples_tests_pass_on_its_wheel(tmp_path: Path, example: str, passed: int) -> None:
    sources, site = tmp_path / example, tmp_path / "site"
    shutil.copytree(EXAMPLES / example, sources)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # the backend is a program
    build = [sys.executable, "-c", BUILD, str(tmp_path)]
    subprocess.run(build, cwd=sources, env={**os.environ, "PATH": path}, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=sources,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert tested.returncode == 0, tested.stdout
    assert f"{passed} passed" in tested.stdout
