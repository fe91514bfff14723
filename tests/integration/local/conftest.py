"""A clone of its own for each test of the stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nagaya_local import commands
from nagaya_local.clone.layout import Layout

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path


@pytest.fixture
async def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Layout]:
    """A folder with a space in its name, whose stack is down again afterwards."""
    for name in ("NAGAYA_PG_URL", "S3_ENDPOINT", "TEMPORAL_ADDRESS", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    layout = Layout(tmp_path / "a clone")
    layout.root.mkdir()
    yield layout
    await commands.down(layout, lambda _: None)
