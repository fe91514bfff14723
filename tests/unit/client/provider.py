"""An OpenID Connect provider that answers requests for a token as a test says."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web
from tests.support.oidc_issuer import CONFIGURATION, OidcIssuer

from nagaya_client.login.grant import LoginSettings


class Provider:
    """Answers requests for a token one after another; `forms` are what came.

    `asked` tells that one has come, and none is answered while `may_answer` is clear.
    """

    def __init__(self, issuer: OidcIssuer) -> None:
        self.issuer = issuer
        self.answers: list[tuple[int, Any]] = []
        self.forms: list[dict[str, str]] = []
        self.waits: list[float] = []
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        issuer.configuration |= {
            "token_endpoint": f"{issuer.url}/token",
            "device_authorization_endpoint": f"{issuer.url}/token",
        }
        issuer.answer = self._answer
        issuer.add_key("one")

    async def _answer(self, request: web.Request) -> web.Response:
        if request.path == CONFIGURATION:
            return web.json_response(self.issuer.configuration)
        self.forms.append({name: str(value) for name, value in (await request.post()).items()})
        self.asked.set()
        await self.may_answer.wait()
        status, body = self.answers.pop(0)
        return web.Response(status=status, text=body if isinstance(body, str) else json.dumps(body))

    def refuses(self, error: str, status: int = 400) -> None:
        self.answers.append((status, {"error": error}))

    def gives(self, **changes: object) -> None:
        token = self.issuer.token("one")
        self.answers.append((200, {"access_token": token, "expires_in": 300} | changes))

    def settings(self, **changes: str) -> LoginSettings:
        return LoginSettings(**{"issuer": self.issuer.url, "client_id": "cli"} | changes)
