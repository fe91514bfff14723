"""A receiver of webhooks in the process of a test, and the secrets of its messages."""

from __future__ import annotations

import asyncio
import json
import secrets
from base64 import b64encode
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from nagaya_client import webhooks
from nagaya_local.machine.ports import free_port
from runs.peers.tenant_secrets import TenantSecrets
from servicekit.channel import open_channel

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it came."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def content(self) -> dict[str, Any]:
        return json.loads(self.body)

    @property
    def said(self) -> tuple[int, str]:
        """The event's number and type."""
        return self.content["sequence"], self.content["type"]

    def fault(self, secret: str) -> str:
        """Return what the client's own verification finds."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        return webhooks.fault(secret, headers, self.body)


@dataclass
class Receiver:
    """Takes messages, or answers with the statuses that it was given, one after another.

    Answers nothing while `answering` is not set.
    """

    url: str
    messages: list[Message] = field(default_factory=list[Message])
    refusals: list[int] = field(default_factory=list[int])
    location: str = ""
    seconds: float = 0.0
    """How long each answer takes."""
    answering: asyncio.Event = field(default_factory=asyncio.Event)
    came: asyncio.Condition = field(default_factory=asyncio.Condition)

    def __post_init__(self) -> None:
        self.answering.set()

    async def take(self, request: web.Request) -> web.Response:
        self.messages.append(Message(request.headers, await request.read()))
        async with self.came:
            self.came.notify_all()
        await self.answering.wait()
        await asyncio.sleep(self.seconds)
        status = self.refusals.pop(0) if self.refusals else 204
        return web.Response(status=status, headers={"location": self.location})

    async def wait_for(self, count: int) -> None:
        """Return once so many messages have come."""
        async with self.came, asyncio.timeout(30):
            await self.came.wait_for(lambda: len(self.messages) >= count)

    @property
    def said(self) -> list[tuple[int, str]]:
        return [message.said for message in self.messages]


@asynccontextmanager
async def receiving() -> AsyncGenerator[Receiver]:
    """Run a receiver on a port of its own."""
    port = free_port()
    receiver = Receiver(f"http://127.0.0.1:{port}/hook?token=1")
    app = web.Application()
    app.router.add_post("/hook", receiver.take)
    app.router.add_get("/hook", receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield receiver
    finally:
        await runner.cleanup()


class PlayedSecrets(TenantSecrets):
    """Secrets as the tenant service makes them, in memory."""

    def __init__(self) -> None:
        super().__init__(open_channel("127.0.0.1:1", None))
        self.kept: dict[tuple[str, str], str] = {}

    async def ensure(self, tenant_id: str, name: str) -> str:
        made = b64encode(secrets.token_bytes(32)).decode()
        return self.kept.setdefault((tenant_id, name), made)

    async def delete(self, tenant_id: str, name: str) -> None:
        self.kept.pop((tenant_id, name), None)
