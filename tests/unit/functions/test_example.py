"""The example's distribution passes its own tests, installed as its author installs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "word-count"
BUILD = "import sys, uv_build; print(uv_build.build_wheel(sys.argv[1]))"


def test_the_examples_tests_pass_on_its_wheel(tmp_path: Path) -> None:
    sources, site = tmp_path / "word-count", tmp_path / "site"
    shutil.copytree(EXAMPLE, sources)
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
    assert "2 passed" in tested.stdout
