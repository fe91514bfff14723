"""Fault tests need a stack of their own: what they do to it, no other test should meet."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest
from tests.e2e.house import House

from nagaya_local.commands import down, up
from nagaya_local.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    layout = Layout(tmp_path_factory.mktemp("house"))
    try:
        yield House(layout, asyncio.run(up(layout, _say)))
    finally:
        asyncio.run(down(layout, _say))


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
