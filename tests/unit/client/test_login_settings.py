"""Where one logs in, and when the token of a login is the one that is sent."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from nagaya_client.errors import LoginFailed, SettingsInvalid
from nagaya_client.login.grant import Grant, LoginSettings
from nagaya_client.settings import read_login, read_login_settings, read_settings

if TYPE_CHECKING:
    from pathlib import Path

    from nagaya_client.login.saved import SavedLogin

PROVIDER = LoginSettings("https://login.example.com", "nagaya", scope="runs.*", resource="api")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "nagaya").mkdir()
    return {"XDG_CONFIG_HOME": str(tmp_path)}


@pytest.fixture
def login(environment: dict[str, str]) -> SavedLogin:
    """The login of the default profile, valid for an hour."""
    saved = read_login(environment=environment)
    end = time.time() + 3600
    saved.save(PROVIDER, Grant("of the login", "", end - 60, end))
    return saved


async def test_a_login_is_used_where_no_token_is_named(
    login: SavedLogin, environment: dict[str, str], tmp_path: Path
) -> None:
    addresses = environment | {"NAGAYA_RUNS_ADDRESS": "nagaya.example.com:443"}
    assert read_settings(environment=addresses, folder=tmp_path).token == login
    assert await login.read() == "of the login"

    named = read_settings(environment=addresses | {"NAGAYA_TOKEN": "t"}, folder=tmp_path)
    assert await named.token.read() == "t"


def test_a_login_is_of_one_profile(
    login: SavedLogin, environment: dict[str, str], tmp_path: Path
) -> None:
    lines = '[profile.default]\naddress = "x:1"\n[profile."a/b"]\naddress = "x:2"'
    (tmp_path / "nagaya" / "config.toml").write_text(lines)

    assert read_settings(environment=environment, folder=tmp_path).token == login
    other = environment | {"NAGAYA_PROFILE": "a/b"}
    assert read_login(environment=other).file.parent == login.file.parent
    with pytest.raises(SettingsInvalid, match="no token found") as refused:
        read_settings(environment=other, folder=tmp_path)
    assert "`nagaya login`" in refused.value.hint


@pytest.mark.usefixtures("login")
async def test_a_login_is_not_sent_to_the_local_stack_that_nobody_named(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "var" / "dev" / "tokens").mkdir(parents=True)
    (tmp_path / "var" / "dev" / "tokens" / "operator.jwt").write_text("operator")
    endpoints = "NAGAYA_RUNS_ADDRESS=127.0.0.1:7\n"
    (tmp_path / "var" / "dev" / "endpoints.env").write_text(endpoints)

    settings = read_settings(environment=environment, folder=tmp_path)
    assert await settings.token.read() == "operator"


def test_where_one_logged_in_is_known_the_next_time(
    login: SavedLogin, environment: dict[str, str]
) -> None:
    assert read_login_settings(environment=environment) == (PROVIDER, login)

    wider, _ = read_login_settings({"oidc_scope": "*"}, environment=environment)
    assert (wider.issuer, wider.scope, wider.resource) == (PROVIDER.issuer, "*", "api")

    other = {"NAGAYA_OIDC_ISSUER": "https://other", "NAGAYA_OIDC_CLIENT_ID": "cli"}
    elsewhere, _ = read_login_settings(environment=environment | other)
    assert elsewhere == LoginSettings("https://other", "cli")


def test_it_is_said_what_is_needed_to_log_in(environment: dict[str, str]) -> None:
    given = {"oidc_issuer": "https://login.example.com"}
    with pytest.raises(SettingsInvalid, match="not known where to log in") as refused:
        read_login_settings(given, environment=environment)
    assert "NAGAYA_OIDC_CLIENT_ID" in refused.value.hint


def test_a_login_is_for_its_owner_only(login: SavedLogin) -> None:
    assert login.file.stat().st_mode & 0o777 == 0o600
    assert login.file.parent.stat().st_mode & 0o777 == 0o700
    assert [file.name for file in login.file.parent.iterdir()] == ["default.json"]


async def test_a_login_that_nothing_renews_ends(login: SavedLogin) -> None:
    login.save(PROVIDER, Grant("valid still", "", time.time() - 1, time.time() + 60))
    assert await login.read() == "valid still"

    login.save(PROVIDER, Grant("expired", "", time.time() - 60, time.time() - 1))
    with pytest.raises(LoginFailed, match="has expired") as ended:
        await login.read()
    assert "`nagaya login`" in ended.value.hint


async def test_a_damaged_login_is_named_and_can_be_replaced(
    login: SavedLogin, environment: dict[str, str]
) -> None:
    login.file.write_text('{"settings": {}}')
    with pytest.raises(LoginFailed, match="holds no login"):
        await login.read()
    with pytest.raises(SettingsInvalid, match="not known where"):
        read_login_settings(environment=environment)


def test_tokens_of_a_login_are_in_no_representation() -> None:
    assert "secret" not in repr(Grant("secret a", "secret b", 0, 0))
