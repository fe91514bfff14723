from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.oidc_issuer import OidcIssuer

from servicekit.testing import Keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("authentication.oidc.issuer._INTERVAL_SECONDS", 0.05)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest.fixture
async def issuer() -> AsyncIterator[OidcIssuer]:
    async with OidcIssuer() as running:
        running.add_key("first")
        yield running
