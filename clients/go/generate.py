"""Writes a Go module with the client's example and the code generated from protos/.

    python clients/go/generate.py FOLDER && cd FOLDER && go run ./example ...

Needs Go 1.24 or newer. The plugins are built from the Go module proxy, once, into Go's own cache.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROTOS = HERE.parents[1] / "protos"


def generate(folder: Path) -> None:
    """Write the module into `folder`. Raises CalledProcessError when a tool refuses."""
    shutil.copytree(HERE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.py", "gen"))
    image = folder / "contracts.binpb"
    write_image = (sys.executable, str(PROTOS / "generate.py"), "--image", str(image))
    subprocess.run(write_image, check=True)
    buf = Path(sys.executable).parent / "buf"
    # The rules of buf/validate are generated too: as a module of their own they are not on the
    # Go module proxy under a name that can be pinned.
    chosen = ("--path", "nagaya", "--path", "buf")
    command = (str(buf), "generate", str(image), *chosen)
    subprocess.run(command, cwd=folder, check=True)
    image.unlink()


if __name__ == "__main__":
    generate(Path(sys.argv[1]))
