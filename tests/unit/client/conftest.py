"""A server for the client's tests, and an environment that points to it and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.oidc_issuer import OidcIssuer
from tests.unit.client.api import Api
from tests.unit.client.provider import Provider

from nagaya_client.client import Client
from nagaya_client.settings import KEYS, SERVICES, Settings
from nagaya_client.tokens import Token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

TOKEN = "token-of-ada"


@pytest.fixture
def api() -> Iterator[Api]:
    """A server without answers yet."""
    server = Api()
    server.start()
    yield server
    server.close()


@pytest.fixture
def settings(api: Api) -> Settings:
    return Settings(dict.fromkeys(SERVICES, api.address), Token(TOKEN))


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Client]:
    async with Client.connect(settings) as connected:
        yield connected


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with OidcIssuer() as issuer:
        yield Provider(issuer)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in, without anybody's settings."""
    for name in (*KEYS, "profile"):
        monkeypatch.delenv(f"NAGAYA_{name.upper()}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def here(api: Api, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, where the environment names the server."""
    for service in SERVICES:
        monkeypatch.setenv(f"NAGAYA_{service.upper()}_ADDRESS", api.address)
    monkeypatch.setenv("NAGAYA_TOKEN", TOKEN)
    return elsewhere
