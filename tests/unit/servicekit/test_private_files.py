from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from servicekit.private_files import check_private

if TYPE_CHECKING:
    from pathlib import Path

_MOUNTED = """
set -eu
mount -t tmpfs secrets "$1"
printf hush >"$1/key"
chmod "$3" "$1/key"
mount -o "remount,bind,$4" "$1"
"$2" -c 'import sys; from pathlib import Path; from servicekit.private_files import check_private
check_private(Path(sys.argv[1]))' "$1/key"
"""
_AS_ROOT = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_text("hush")
    return file


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_file_that_only_its_owner_may_read_is_private(file: Path, mode: int) -> None:
    file.chmod(mode)

    check_private(file)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o620, 0o602, 0o601, 0o650])
def test_a_file_that_others_may_read_or_change_is_not(file: Path, mode: int) -> None:
    file.chmod(mode)

    with pytest.raises(ValueError, match="others may read it"):
        check_private(file)


def test_a_group_may_read_a_file_of_root_only(file: Path) -> None:
    file.chmod(0o640)

    if os.geteuid() == 0:
        check_private(file)
        os.chown(file, 65534, 65534)
    with pytest.raises(ValueError, match="others may read it"):
        check_private(file)


@pytest.mark.parametrize(
    ("access", "mode", "problem"),
    [
        ("ro", "444", ""),
        ("ro", "644", ""),
        ("rw", "444", "others may read it"),
        ("ro", "666", "others may read it"),
    ],
)
def test_all_may_read_what_root_has_mounted_in_memory_to_be_read_only(
    tmp_path: Path, access: str, mode: str, problem: str
) -> None:
    arguments = ["sh", tmp_path, sys.executable, mode, access]

    done = subprocess.run(
        [*_AS_ROOT, _MOUNTED, *arguments], check=False, capture_output=True, text=True
    )

    assert (done.returncode == 0) is (problem == ""), done.stderr
    assert problem in done.stderr
