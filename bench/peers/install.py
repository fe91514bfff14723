"""Installs peers, pinned, into folders of their own below `.cache/bench`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from bench.stack import CLONE
from nagaya_local.errors import LocalError

_HERE = Path(__file__).parent
_CACHE = CLONE / ".cache" / "bench"
_BUILD = CLONE / "deploy" / "build"


class PeerMissing(LocalError):
    """A peer could not be installed: what is measured beside it is not."""


def python_environment(name: str) -> Path:
    """Return the folder of programs of an environment with what `NAME.txt` pins.

    Raises PeerMissing.
    """
    pins, folder = _HERE / f"{name}.txt", _CACHE / name
    if not _has(folder, pins):
        python = _output(name, [str(_BUILD / "find-python")])
        uv = str(CLONE / _output(name, [str(_BUILD / "find-uv"), python]))
        print(f"installing {name} (a minute, once) ...", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        _output(name, [uv, "venv", "--quiet", "--no-project", "--python", python, str(folder)])
        interpreter = str(folder / "bin" / "python")
        install = [uv, "pip", "install", "--quiet", "--system-certs", "--no-deps"]
        _output(name, [*install, "--python", interpreter, "-r", str(pins)])
        shutil.copy(pins, folder / "installed")
    return folder / "bin"


def node_modules(name: str) -> Path:
    """Return the `node_modules` with what `NAME/package-lock.json` pins. Raises PeerMissing."""
    source, folder = _HERE / name, _CACHE / name
    lock = source / "package-lock.json"
    if not _has(folder, lock):
        npm = shutil.which("npm")
        if npm is None:
            raise PeerMissing(f"{name} needs npm, which is not on PATH", "Install Node.js ≥ 18.")
        print(f"installing {name} (half a minute, once) ...", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder)
        _output(
            name,
            [
                npm,
                "ci",
                "--silent",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
                "--prefix",
                str(folder),
            ],
        )
        shutil.copy(lock, folder / "installed")
    return folder / "node_modules"


def _has(folder: Path, pins: Path) -> bool:
    installed = folder / "installed"
    return installed.exists() and installed.read_bytes() == pins.read_bytes()


def _output(name: str, command: list[str]) -> str:
    done = subprocess.run(command, cwd=CLONE, capture_output=True, text=True, check=False)
    if done.returncode:
        why = " ".join((done.stderr or done.stdout).split())[-500:]
        raise PeerMissing(f"{name} could not be installed: {why}", "Mend that, and run it again.")
    return done.stdout.strip()
