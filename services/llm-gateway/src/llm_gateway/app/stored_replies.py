"""Reading the replies of settled calls."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from llm_gateway.domain.files import FileRef
from llm_gateway.domain.replies import read
from llm_gateway.errors import CallNotSettled, ReplyExpired

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from llm_gateway.domain.calls import CallOutput, LlmCall
    from llm_gateway.peers.artifacts import Artifacts

MESSAGE_BYTES = 3 << 20
"""The longest reply that fits into one message beside its call."""


class StoredReplies:
    """The replies of settled calls, by whoever stored them."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts

    async def chunks(self, tenant_id: str, call: LlmCall) -> AsyncGenerator[bytes]:
        """Yield a reply's bytes in order, at most 1 MiB at once.

        Raises CallNotSettled, ReplyExpired, DataLoss, Unavailable.
        """
        output = _output(call)
        file = FileRef(output.path, output.digest)
        async with aclosing(self._artifacts.reply(tenant_id, file)) as chunks:
            async for chunk in chunks:
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

    async def text(self, tenant_id: str, call: LlmCall, *, structured: bool) -> str:
        """Return a reply's text, character for character as it was streamed.

        Raises as `chunks` does.
        """
        async with aclosing(self.chunks(tenant_id, call)) as chunks:
            body = b"".join([chunk async for chunk in chunks])
        return read(body, structured=structured).text


def _output(call: LlmCall) -> CallOutput:
    if call.output is None:
        raise CallNotSettled(f"the call is {call.state} and has no reply", state=call.state)
    return call.output
