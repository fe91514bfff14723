from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import pytest
from tests.unit.llmstub.provider_client import ProviderClient

from llmstub import Latency, LlmStub, Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

INSTANT = Latency(0, 0, 0)


@pytest.fixture
def calls_file(tmp_path: Path) -> Path:
    return tmp_path / "calls.jsonl"


@pytest.fixture
async def stub(calls_file: Path) -> AsyncIterator[LlmStub]:
    async with LlmStub(Settings(seed=7, latency=INSTANT, calls_file=calls_file)) as stub:
        yield stub


@pytest.fixture
async def client(stub: LlmStub) -> AsyncIterator[ProviderClient]:
    async with aiohttp.ClientSession() as session:
        yield ProviderClient(session, stub.url)
