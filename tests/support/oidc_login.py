"""How a person logs in at the tests' OpenID Connect provider, as a browser would.

`python -m tests.support.oidc_login URL CA_FILE USER TENANT PERMISSIONS` prints the token of one, as
`NAGAYA_DEV_TOKEN_COMMAND` is asked for it; the provider itself says of which tenant a person is.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import html
import re
import secrets
import ssl
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import aiohttp

_CALLBACK = "http://127.0.0.1/callback"
_FORM = re.compile(r"<form(?P<attributes>[^>]*)>(?P<body>.*?)</form>", re.DOTALL)
_INPUT = re.compile(r"<input\b[^>]*>", re.DOTALL)
_BUTTON = re.compile(r"<button\b[^>]*>", re.DOTALL)
_ATTRIBUTE = re.compile(r'([\w-]+)="([^"]*)"')
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
    async with _browser(ca_file) as session:
        end, _ = await _visited(session, f"{url}/auth?{urlencode(query)}", {"login": login})
        form = {
            "grant_type": "authorization_code",
            "client_id": "app",
            "redirect_uri": _CALLBACK,
            "code": parse_qs(urlsplit(end).query)["code"][0],
            "code_verifier": verifier,
        }
        async with session.post(f"{url}/token", data=form) as response:
            return await response.json()


async def visit(url: str, ca_file: Path | None = None, **entered: str) -> str:
    """Open a page, send each form that comes, once, and return the last page.

    In fields that are named so is what is `entered`, and buttons that are named so are used.
    """
    async with _browser(ca_file) as session:
        _, page = await _visited(session, url, entered)
        return page


def _browser(ca_file: Path | None) -> aiohttp.ClientSession:
    jar = aiohttp.CookieJar(unsafe=True)  # for an IP address
    trusting = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=ca_file))
    return aiohttp.ClientSession(connector=trusting, cookie_jar=jar)


async def _visited(
    session: aiohttp.ClientSession, url: str, entered: dict[str, str]
) -> tuple[str, str]:
    """Return where the forms have led, and the page there; nothing is at the callback."""
    form: dict[str, str] | None = None
    sent: set[tuple[str, ...]] = set()
    while True:
        method = "GET" if form is None else "POST"
        async with session.request(method, url, data=form, allow_redirects=False) as response:
            if location := response.headers.get("location"):
                url, form = urljoin(url, location), None
                if url.startswith(_CALLBACK):
                    return url, ""
                continue
            page = await response.text()
        found = _FORM.search(page)
        action = urljoin(url, _attributes(found["attributes"])["action"]) if found else url
        form = _filled(found["body"], page, entered) if found else {}
        if found is None or (action, *form) in sent:
            return url, page
        sent.add((action, *form))
        url = action


def _filled(form: str, page: str, entered: dict[str, str]) -> dict[str, str]:
    fields = [_attributes(tag) for tag in _INPUT.findall(form)]
    buttons = [_attributes(tag) for tag in _BUTTON.findall(page)]
    pressed = [button for button in buttons if button.get("name") in entered]
    return {
        field["name"]: entered.get(field["name"], field.get("value", ""))
        for field in (*fields, *pressed)
    }


def _attributes(tag: str) -> dict[str, str]:
    return {name: html.unescape(value) for name, value in _ATTRIBUTE.findall(tag)}


def main() -> None:
    url, ca_file, user, _, permissions = sys.argv[1:]
    tokens = asyncio.run(tokens_of_person(url, user, permissions, Path(ca_file)))
    sys.stdout.write(tokens["access_token"] + "\n")


if __name__ == "__main__":
    main()
