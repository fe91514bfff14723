"""The services' migrations can be read: with two files of one number a service does not start."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataplane.migrations import read_migrations

CLONE = Path(__file__).resolve().parents[2]
FOLDERS = sorted(CLONE.glob("services/*/src/*/migrations"))


@pytest.mark.parametrize("folder", [pytest.param(path, id=path.parent.name) for path in FOLDERS])
def test_a_services_migrations_are_read(folder: Path) -> None:
    assert read_migrations(folder)
