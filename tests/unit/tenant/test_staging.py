"""Folders in which backups are staged: what killed processes have left goes, nothing else."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from tenant.backup_storage import staging
from tenant.backup_storage.folder import FolderStorage

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

NAME = "staged-acme.1.create"


def test_what_no_process_uses_is_removed_and_what_one_uses_stays(tmp_path: Path) -> None:
    left = _left(tmp_path / f"{NAME}.old")
    (tmp_path / "staged-loop").symlink_to("staged-loop")  # cannot be opened
    with staging.lent_locked(tmp_path, "staged-other") as used:
        (used / "database.dump").write_bytes(b"rows")
        _made_old(used)

        assert staging.remove_left(tmp_path, "staged-") == 1
        assert (used / "database.dump").exists()
    assert not left.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["staged-loop"]


def test_an_operation_that_goes_on_removes_what_its_process_left(tmp_path: Path) -> None:
    left = _left(tmp_path / f"{NAME}.old")

    with staging.lent_locked(tmp_path, NAME) as folder:
        assert not left.exists()
        with staging.lent_locked(tmp_path, NAME) as another:
            assert another != folder
        assert folder.exists()


def test_a_storage_of_many_machines_is_not_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    storage = FolderStorage(tmp_path)
    (tmp_path / ".staging").mkdir()
    of_another_machine = _left(tmp_path / ".staging" / NAME)  # its lock would not be seen here

    assert staging.remove_left_on_machine() == 0
    assert (of_another_machine / "database.dump").exists()
    with storage.staging(NAME) as folder:
        assert [*folder.iterdir()] == []
    assert not of_another_machine.exists()


def _left(folder: Path) -> Path:
    folder.mkdir()
    (folder / "database.dump").write_bytes(b"rows")
    _made_old(folder)
    return folder


def _made_old(folder: Path) -> None:
    then = time.time() - 3600
    os.utime(folder, (then, then))
