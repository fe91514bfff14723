"""How a person logs in at the tests' OpenID Connect provider, as a browser would.

`python -m tests.support.oidc_login URL CA_FILE USER TENANT PERMISSIONS` prints the token of one, as
`NAGAYA_DEV_TOKEN_COMMAND` is asked for it; the provider itself says of which tenant a person is.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import secrets
import ssl
import sys
from pathlib import Path
from urllib.parse import parse_qs, urljoin, urlsplit

import aiohttp

_CALLBACK = "http://127.0.0.1/callback"
_UID = re.compile(r'action="([^"]+)"')
_RESOURCE = "https://nagaya.example"


async def tokens_of_person(
    url: str, login: str, scope: str, ca_file: Path | None = None, resource: str = _RESOURCE
) -> dict[str, str]:
    """Return access and ID token of a person who logs in, by a code with PKCE."""
    verifier = secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
    query = {
        "client_id": "app",
        "response_type": "code",
        "redirect_uri": _CALLBACK,
        "scope": f"openid {scope}",
        "resource": resource,
        "code_challenge": challenge.rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    jar = aiohttp.CookieJar(unsafe=True)  # for an IP address
    trusting = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=ca_file))
    async with aiohttp.ClientSession(connector=trusting, cookie_jar=jar) as session:
        page = await _followed(session, f"{url}/auth", query, None)
        page = await _followed(session, page, None, {"prompt": "login", "login": login})
        end = await _followed(session, page, None, {"prompt": "consent"})
        form = {
            "grant_type": "authorization_code",
            "client_id": "app",
            "redirect_uri": _CALLBACK,
            "code": parse_qs(urlsplit(end).query)["code"][0],
            "code_verifier": verifier,
        }
        async with session.post(f"{url}/token", data=form) as response:
            return await response.json()


async def _followed(
    session: aiohttp.ClientSession,
    url: str,
    query: dict[str, str] | None,
    form: dict[str, str] | None,
) -> str:
    """Send a request, follow redirections, return the form's address or the callback's."""
    method = "GET" if form is None else "POST"
    response = await session.request(method, url, params=query, data=form, allow_redirects=False)
    while location := response.headers.get("location"):
        url = urljoin(url, location)
        if url.startswith(_CALLBACK):
            return url
        response = await session.get(url, allow_redirects=False)
    found = _UID.search(await response.text())
    assert found is not None, f"{url} shows no form"
    return urljoin(url, found[1])


def main() -> None:
    url, ca_file, user, _, permissions = sys.argv[1:]
    tokens = asyncio.run(tokens_of_person(url, user, permissions, Path(ca_file)))
    sys.stdout.write(tokens["access_token"] + "\n")


if __name__ == "__main__":
    main()
