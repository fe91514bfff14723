"""Logging in with this machine's browser: a code with PKCE, sent to a port of this machine.

As RFC 8252 describes it for native apps.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

from nagaya_client.errors import LoginFailed
from nagaya_client.login.issuer import IssuerRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from nagaya_client.login.grant import Grant
    from nagaya_client.login.issuer import Issuer

ENDPOINT = "authorization_endpoint"
_PATH = "/callback"
_SECONDS = 300.0
_PAGE = b"<!doctype html><title>Nagaya</title><p>%s</p>"
_DONE = b"You may close this page: the command goes on."
_OTHER = b"This is no answer to a login that is under way."


def log_in(issuer: Issuer, show: Callable[[str], object], seconds: float = _SECONDS) -> Grant:
    """Let `show` open the provider's page, wait for its answer, and return what it gives.

    Raises LoginFailed when the provider refuses, or nobody has logged in after `seconds`.
    """
    verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
    with _Listener(state) as listener:
        query = {
            "client_id": issuer.settings.client_id,
            "response_type": "code",
            "redirect_uri": listener.url,
            "scope": issuer.scope,
            "state": state,
            "code_challenge": challenge.rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            **issuer.settings.api,
        }
        page = issuer.endpoint(ENDPOINT)
        show(f"{page}{'&' if urlsplit(page).query else '?'}{urlencode(query)}")
        answer = listener.wait(seconds)
        if error := answer.get("error"):
            said = answer.get("error_description", "")
            raise IssuerRefused(issuer.settings.issuer, error, said)
        # Of a provider that tells who answers (RFC 9207), nobody else's code is taken.
        if answer.get("iss", issuer.settings.issuer).rstrip("/") != (
            issuer.settings.issuer.rstrip("/")
        ):
            raise LoginFailed("another provider answered than the one that was asked")
        return issuer.token(
            {
                "grant_type": "authorization_code",
                "code": answer.get("code", ""),
                "redirect_uri": listener.url,
                "code_verifier": verifier,
            }
        )


class _Listener(HTTPServer):
    """A port of this machine to which a browser brings the answer."""

    timeout = 1.0

    def __init__(self, state: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.state = state
        self.url = f"http://127.0.0.1:{self.server_port}{_PATH}"
        self.answer: dict[str, str] | None = None

    def wait(self, seconds: float) -> dict[str, str]:
        """Return the parameters of the answer. Raises LoginFailed."""
        end = time.monotonic() + seconds
        while self.answer is None:
            if time.monotonic() > end:
                raise LoginFailed("nobody logged in in time", "`nagaya login` begins anew.")
            self.handle_request()
        return self.answer


class _Handler(BaseHTTPRequestHandler):
    timeout = 5.0
    server: _Listener  # pyright: ignore[reportIncompatibleVariableOverride] - it is no other

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        answer = {name: values[0] for name, values in parse_qs(parts.query).items()}
        ours = parts.path == _PATH and secrets.compare_digest(
            answer.get("state", "").encode(), self.server.state.encode()
        )
        if ours:
            self.server.answer = answer
        body = _PAGE % (_DONE if ours else _OTHER)
        self.send_response(200 if ours else 404)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass
