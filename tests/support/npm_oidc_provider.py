"""The OpenID Connect provider `oidc-provider` of npm, on loopback; installed once per clone."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import hashlib
import json
import re
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urljoin, urlsplit

import aiohttp
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from tests.support.oidc_issuer import new_key

from nagaya_local.machine.ports import free_port

if TYPE_CHECKING:
    from types import TracebackType

_FOLDER = Path(__file__).parent / "oidc_provider"
_LOCK = Path(__file__).resolve().parents[2] / ".cache" / "oidc-provider.lock"
_CALLBACK = "http://127.0.0.1/callback"
_UID = re.compile(r'action="([^"]+)"')


class NpmOidcProvider:
    """The provider with one signing key of `algorithm`; it can be started again with another."""

    def __init__(self, folder: Path) -> None:
        self._jwks = folder / "provider.json"
        self._port = free_port()
        self._process: asyncio.subprocess.Process | None = None
        self.url = f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(_install)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self, kid: str, algorithm: str) -> None:
        """Start it with a new key."""
        private: Any = new_key(algorithm)
        jwk = (ECAlgorithm if algorithm == "ES256" else RSAAlgorithm).to_jwk(private, as_dict=True)
        members = jwk | {"kid": kid, "alg": algorithm, "use": "sig"}
        members.pop("key_ops", None)
        self._jwks.write_text(json.dumps({"keys": [members]}))
        node = shutil.which("node")
        assert node is not None, "Node.js 20 or newer with npm is needed: https://nodejs.org"
        self._process = await asyncio.create_subprocess_exec(
            node,
            _FOLDER / "server.mjs",
            str(self._port),
            self._jwks,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        while (line := await self._process.stdout.readline()) != b"ready\n":
            assert line, "the provider has ended before it was ready"

    async def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            await self._process.communicate()
            self._process = None

    async def token_of_client(self, scope: str) -> str:
        """Return an access token of a program, by its client credentials."""
        form = {"grant_type": "client_credentials", "scope": scope}
        headers = {"authorization": aiohttp.encode_basic_auth("robot", "secret")}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(f"{self.url}/token", data=form) as response,
        ):
            return (await response.json())["access_token"]

    async def tokens_of_person(self, login: str, scope: str) -> dict[str, str]:
        """Return access and ID token of a person who logs in, by a code with PKCE."""
        verifier = secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
        query = {
            "client_id": "app",
            "response_type": "code",
            "redirect_uri": _CALLBACK,
            "scope": f"openid {scope}",
            "code_challenge": challenge.rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        jar = aiohttp.CookieJar(unsafe=True)  # for an IP address
        async with aiohttp.ClientSession(cookie_jar=jar) as session:
            page = await self._followed(session, f"{self.url}/auth", query, None)
            page = await self._followed(session, page, None, {"prompt": "login", "login": login})
            end = await self._followed(session, page, None, {"prompt": "consent"})
            form = {
                "grant_type": "authorization_code",
                "client_id": "app",
                "redirect_uri": _CALLBACK,
                "code": parse_qs(urlsplit(end).query)["code"][0],
                "code_verifier": verifier,
            }
            async with session.post(f"{self.url}/token", data=form) as response:
                return await response.json()

    async def _followed(
        self,
        session: aiohttp.ClientSession,
        url: str,
        query: dict[str, str] | None,
        form: dict[str, str] | None,
    ) -> str:
        """Send a request, follow redirections, return the form's address or the callback's."""
        method = "GET" if form is None else "POST"
        response = await session.request(
            method, url, params=query, data=form, allow_redirects=False
        )
        while location := response.headers.get("location"):
            url = urljoin(url, location)
            if url.startswith(_CALLBACK):
                return url
            response = await session.get(url, allow_redirects=False)
        found = _UID.search(await response.text())
        assert found is not None, f"{url} shows no form"
        return urljoin(url, found[1])


def _install() -> None:
    npm = shutil.which("npm")
    assert npm is not None, "Node.js 20 or newer with npm is needed: https://nodejs.org"
    stamp, lock = _FOLDER / "node_modules" / ".installed", _FOLDER / "package-lock.json"
    _LOCK.parent.mkdir(exist_ok=True)
    with _LOCK.open("w") as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_bytes() == lock.read_bytes():
            return
        command = [npm, "ci", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=_FOLDER, check=True, capture_output=True)
        stamp.write_bytes(lock.read_bytes())
