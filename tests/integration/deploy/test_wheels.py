"""The client and `nagaya` install from our wheels and their lock alone, and say their version."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CLONE = Path(__file__).resolve().parents[3]
VERSION = (CLONE / "VERSION").read_text().strip()
LOCK = CLONE / "deploy" / "locks" / "client.txt"

pytestmark = pytest.mark.timeout(300)  # it installs third parties from the index


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheels of all parts."""
    folder = tmp_path_factory.mktemp("wheels") / "dist"
    build = [CLONE / "deploy" / "build" / "wheels"]
    subprocess.run(build, env=os.environ | {"DIST": str(folder)}, check=True)
    return folder


def test_every_part_has_a_wheel_of_the_version(wheels: Path) -> None:
    members = subprocess.run(
        [CLONE / "deploy" / "build" / "members"], capture_output=True, text=True, check=True
    ).stdout.splitlines()

    found = [file.name.split("-")[1] for file in wheels.glob("*.whl")]

    assert found == [VERSION] * len(members)


def test_an_environment_that_no_service_can_start_is_warned_of(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "python").touch()
    environment = tmp_path / "environment"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").symlink_to(home / "python")

    install = [CLONE / "deploy" / "build" / "install-wheels", "tenant", environment]
    no_wheels = os.environ | {"DIST": str(tmp_path)}
    done = subprocess.run(install, env=no_wheels, capture_output=True, text=True, check=False)

    assert f"others may not enter {home}" in done.stderr
    assert done.returncode != 0


def test_the_client_installs_into_an_empty_environment(wheels: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    pip = [environment / "bin" / "python", "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--require-hashes", "-r", LOCK], check=True)
    ours = ["--no-index", "--find-links", wheels, "nagaya-client"]
    subprocess.run([*pip, *ours], check=True)

    done = subprocess.run(
        [environment / "bin" / "nagaya", "--version"], capture_output=True, text=True, check=True
    )

    assert done.stdout == f"nagaya {VERSION}\n"
