"""Reading the replies of settled calls."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from jsonvalues import parse_object
from llm_gateway.domain.files import FileRef
from llm_gateway.domain.replies import read
from llm_gateway.errors import CallNotSettled, ReplyExpired
from llm_gateway.store import replies

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from dataplane.tenants import TenantPools
    from llm_gateway.domain.calls import LlmCall
    from llm_gateway.peers.artifacts import Artifacts

MESSAGE_BYTES = 3 << 20
"""The longest reply that fits into one message beside its call."""
_CHUNK_BYTES = 1 << 20


class StoredReplies:
    """The replies of settled calls: beside their calls, or in files of earlier versions."""

    def __init__(self, tenants: TenantPools, artifacts: Artifacts) -> None:
        self._tenants = tenants
        self._artifacts = artifacts

    async def chunks(self, tenant_id: str, call: LlmCall) -> AsyncGenerator[bytes]:
        """Yield a reply's bytes in order, at most 1 MiB at once.

        Raises CallNotSettled, ReplyExpired, DataLoss, Unavailable.
        """
        output = call.output
        if output is None:
            raise CallNotSettled(f"the call is {call.state} and has no reply", state=call.state)
        if output.path:
            file = FileRef(output.path, output.digest)
            chunks = self._artifacts.reply(tenant_id, file)
        else:
            chunks = self._rows(tenant_id, call.id, output.digest)
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk

    async def _rows(self, tenant_id: str, call_id: int, digest: str) -> AsyncGenerator[bytes]:
        """Yield a reply that lies beside its call. No connection is held between two pieces."""
        offset, chunk = 0, b""
        while not offset or len(chunk) == _CHUNK_BYTES:
            async with self._tenants.connection(tenant_id) as connection:
                found = await replies.read(connection, call_id, offset, _CHUNK_BYTES)
            if found is None:
                raise ReplyExpired("the reply is not kept any more", output_digest=digest)
            chunk = found
            offset += len(chunk)
            if chunk:
                yield chunk

    async def in_message(self, tenant_id: str, call: LlmCall) -> bytes:
        """Return a reply; empty when it has more than 3 MiB or is not kept any more.

        Raises DataLoss, Unavailable.
        """
        body = bytearray()
        try:
            async with aclosing(self.chunks(tenant_id, call)) as chunks:
                async for chunk in chunks:
                    body += chunk
                    if len(body) > MESSAGE_BYTES:
                        return b""
        except ReplyExpired:
            return b""
        return bytes(body)

    async def text(self, tenant_id: str, call: LlmCall, *, structured: bool | None = None) -> str:
        """Return a reply's text, character for character as it was streamed.

        `structured` says whether a schema was asked for. Without it, what is no string is taken to
        be so; a string that a schema was asked for comes without its quotation marks then. Raises
        as `chunks` does.
        """
        async with aclosing(self.chunks(tenant_id, call)) as chunks:
            body = b"".join([chunk async for chunk in chunks])
        if structured is None:
            structured = not isinstance(parse_object(body).get("content"), str)
        return read(body, structured=structured).text
