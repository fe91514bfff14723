"""`nagaya login` at a real OpenID Connect provider, up to calls of a real server."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import jwt
import pytest
from tests.support.npm_oidc_provider import NpmOidcProvider
from tests.support.oidc_login import visit
from tests.support.oidc_verifier import verifying

from nagaya_client.errors import LoginFailed
from nagaya_client.login.saved import SavedLogin
from servicekit.testing import Keys

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path

CODE = re.compile(r"Open (\S+) and enter the code (\S+)\n(?:or open (\S+) )")
ADDRESS = re.compile(r"^(http\S+)$", re.MULTILINE)


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[NpmOidcProvider]:
    with NpmOidcProvider(tmp_path).installed() as provider:
        provider.start("one", "RS256")
        yield provider


@pytest.fixture
def login(tmp_path: Path) -> SavedLogin:
    return SavedLogin(tmp_path / "nagaya" / "logins" / "default.json")


class Command:
    """A `nagaya` that runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said = ""

    async def says(self, pattern: re.Pattern[str]) -> re.Match[str]:
        """Return what it says on stderr once it matches."""
        assert self.process.stderr is not None
        while not (found := pattern.search(self.said)):
            line = await self.process.stderr.readline()
            assert line, self.said
            self.said += line.decode()
        return found

    async def ends(self) -> tuple[int | None, str]:
        """Return its exit code and what it wrote."""
        out, err = await self.process.communicate()
        self.said += err.decode()
        return self.process.returncode, out.decode()


@asynccontextmanager
async def nagaya(folder: Path, *words: str) -> AsyncGenerator[Command]:
    """Run a command of somebody whose folder of configuration this is."""
    environment = {"PATH": os.environ["PATH"], "XDG_CONFIG_HOME": str(folder), "BROWSER": "true"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "nagaya_client.cli", *words),
        env=environment,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Command(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def words(provider: NpmOidcProvider) -> list[str]:
    asked = ("--scope", "runs.read", "--resource", "https://nagaya.example")
    return ["login", "--issuer", provider.url, "--client-id", "nagaya", *asked]


async def log_in(folder: Path, provider: NpmOidcProvider) -> None:
    async with nagaya(folder, *words(provider)) as command:
        page, code, _ = (await command.says(CODE)).groups()
        await visit(page, user_code=code, login="ada@acme")
        assert await command.ends() == (0, f"logged in at {provider.url}, renewed by itself\n")


def make_old(login: SavedLogin) -> None:
    """Let the token be one that is about to expire."""
    content = json.loads(login.file.read_text())
    content["grant"]["renew_time"] = time.time() - 1
    login.file.write_text(json.dumps(content))


@pytest.mark.parametrize("complete", [False, True])
async def test_a_code_that_is_entered_in_any_browser_logs_in(
    tmp_path: Path, provider: NpmOidcProvider, login: SavedLogin, *, complete: bool
) -> None:
    async with nagaya(tmp_path, *words(provider)) as command:
        page, code, complete_page = (await command.says(CODE)).groups()
        shown = await visit(complete_page if complete else page, user_code=code, login="ada@acme")
        assert "Sign-in Success" in shown
        assert await command.ends() == (0, f"logged in at {provider.url}, renewed by itself\n")

    assert login.file.stat().st_mode & 0o777 == 0o600
    async with verifying(Keys(tmp_path), provider.url) as verifier:
        person = await verifier.verify(await login.read())
    assert (person.user_id, person.tenants, person.scope) == ("ada@acme", {"acme"}, {"runs.read"})


async def test_a_browser_of_this_machine_logs_in(
    tmp_path: Path, provider: NpmOidcProvider, login: SavedLogin
) -> None:
    async with nagaya(tmp_path, *words(provider), "--browser") as command:
        url = (await command.says(ADDRESS))[1]
        assert "You may close this page" in await visit(url, login="ada@acme")
        code, out = await command.ends()

    assert (code, out.startswith(f"logged in at {provider.url}")) == (0, True)
    async with verifying(Keys(tmp_path), provider.url) as verifier:
        assert (await verifier.verify(await login.read())).user_id == "ada@acme"


async def test_an_answer_of_somebody_else_is_not_taken(
    tmp_path: Path, provider: NpmOidcProvider
) -> None:
    async with nagaya(tmp_path, *words(provider), "--browser") as command:
        url = (await command.says(ADDRESS))[1]
        callback = re.search(r"redirect_uri=([^&]+)", url)
        assert callback is not None
        where = callback[1].replace("%3A", ":").replace("%2F", "/")
        assert "no answer" in await visit(f"{where}?code=foreign&state=foreign")
        assert "You may close this page" in await visit(url, login="ada@acme")
        assert (await command.ends())[0] == 0


async def test_a_login_that_is_refused_leaves_nothing(
    tmp_path: Path, provider: NpmOidcProvider, login: SavedLogin
) -> None:
    async with nagaya(tmp_path, *words(provider)) as command:
        page, code, _ = (await command.says(CODE)).groups()
        await visit(page, user_code=code, abort="yes")
        assert (await command.ends())[0] == 4

    assert "error: the login was refused\n" in command.said
    assert not login.exists()


async def test_a_client_that_may_not_log_in_by_a_code_learns_why(
    tmp_path: Path, provider: NpmOidcProvider
) -> None:
    other = ("login", "--issuer", provider.url, "--client-id", "app")
    async with nagaya(tmp_path, *other) as command:
        assert (await command.ends())[0] == 4
    assert f"error: {provider.url} refused: invalid_request: " in command.said
    assert "`nagaya login --browser` needs none" in command.said


async def test_a_login_is_renewed_before_it_expires(
    tmp_path: Path, provider: NpmOidcProvider, login: SavedLogin
) -> None:
    await log_in(tmp_path, provider)
    first = await login.read()
    assert await login.read() == first

    make_old(login)
    # The provider takes what renews a token once, and ends the login where it comes again.
    renewed = set(await asyncio.gather(*(login.read() for _ in range(8))))
    assert len(renewed) == 1
    assert renewed != {first}
    assert login.file.stat().st_mode & 0o777 == 0o600

    make_old(login)
    assert await login.read() not in {first, *renewed}


async def test_a_provider_that_is_away_ends_no_login_whose_token_is_valid(
    tmp_path: Path, provider: NpmOidcProvider, login: SavedLogin
) -> None:
    await log_in(tmp_path, provider)
    first = await login.read()
    provider.stop()
    make_old(login)
    assert await login.read() == first

    content = json.loads(login.file.read_text())
    content["grant"]["expire_time"] = time.time() - 1
    login.file.write_text(json.dumps(content))
    with pytest.raises(LoginFailed, match="cannot be reached") as failed:
        await login.read()
    assert failed.value.transient

    provider.start("two", "RS256")  # which has forgotten everybody
    with pytest.raises(LoginFailed, match=r"has ended \(invalid_grant\)") as ended:
        await login.read()
    assert not ended.value.transient


async def test_logging_out_withdraws_what_renews_the_token(
    tmp_path: Path, provider: NpmOidcProvider, login: SavedLogin
) -> None:
    await log_in(tmp_path, provider)
    kept = login.file.read_text()
    async with nagaya(tmp_path, "logout") as command:
        assert await command.ends() == (0, "logged out\n")
    assert not login.exists()

    login.file.write_text(kept)
    make_old(login)
    with pytest.raises(LoginFailed, match="has ended"):
        await login.read()
    async with nagaya(tmp_path, "logout") as command:
        assert (await command.ends())[0] == 0
    async with nagaya(tmp_path, "logout") as command:
        assert await command.ends() == (0, "nobody was logged in\n")


async def test_the_next_login_needs_no_words(
    tmp_path: Path, provider: NpmOidcProvider, login: SavedLogin
) -> None:
    await log_in(tmp_path, provider)
    async with nagaya(tmp_path, "login") as command:
        page, code, _ = (await command.says(CODE)).groups()
        await visit(page, user_code=code, login="grace@acme")
        assert (await command.ends())[0] == 0

    claims = jwt.decode(await login.read(), options={"verify_signature": False})
    assert (claims["sub"], claims["scope"]) == ("grace@acme", "runs.read")
