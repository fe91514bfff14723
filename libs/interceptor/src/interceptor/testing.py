"""For tests: a server on a real socket."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from authentication.testing import verifier_of
from interceptor.server import Server
from servicekit.channel import open_channel

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    import grpc

    from interceptor.server import Binding
    from servicekit.testing import Keys
    from tls.config import ServerTls


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that listens on the loopback interface."""

    server: Server
    address: str
    keys: Keys

    def channel(
        self,
        token: str | None = None,
        *,
        user_id: str = "ada",
        scope: str = "*",
        tenants: Sequence[str] = ("*",),
    ) -> grpc.aio.Channel:
        """Open a channel with a person's token: the one given, or one made from the rest."""
        made = self.keys.token(user_id, scope=scope, tenants=tenants)
        return open_channel(self.address, None, made if token is None else token)

    def workload_channel(self, workload: str) -> grpc.aio.Channel:
        """Open a channel on which a workload calls."""
        return open_channel(self.address, self.keys.signer(workload))


@asynccontextmanager
async def serve(
    keys: Keys,
    *bindings: Binding,
    reflection: bool = False,
    drain_seconds: float = 0.0,
    calls_per_tenant: int = 256,
    tls: ServerTls | None = None,
) -> AsyncGenerator[RunningServer]:
    """Serve bindings on a free port of the loopback interface until the block ends."""
    config = replace(keys.config(), reflection=reflection, drain_seconds=drain_seconds, tls=tls)
    verifier = verifier_of(keys)
    server = Server(config, bindings, verifier, calls_per_tenant=calls_per_tenant)
    port = await server.start()
    await server.set_serving(True)
    try:
        yield RunningServer(server, f"127.0.0.1:{port}", keys)
    finally:
        await server.stop(0.0)
