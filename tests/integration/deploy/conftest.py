"""The tools that read manifests: pinned in tests/support/go_tools, built once."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

CLONE = Path(__file__).resolve().parents[3]
MODULE = CLONE / "tests" / "support" / "go_tools"


@pytest.fixture(scope="session")
def go_tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `kustomize`, and with `compose`, which loads files as Docker Compose does."""
    go = shutil.which("go")
    assert go is not None, "Go 1.24 or newer is needed: https://go.dev/dl"
    folder = tmp_path_factory.mktemp("go-tools")
    build = [go, "build", "-mod=readonly", "-o", f"{folder}/", "./compose", "tool"]
    subprocess.run(build, cwd=MODULE, check=True)
    return folder
