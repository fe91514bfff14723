"""Storing replies, and finding those that a dead process stored before it could say so."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jsonvalues import NotJson
from llm_gateway.domain.calls import Output
from llm_gateway.domain.files import File, ReplyDraft
from llm_gateway.domain.replies import read

if TYPE_CHECKING:
    from llm_gateway.domain.calls import CallKey
    from llm_gateway.domain.files import ReplyFile
    from llm_gateway.domain.replies import Reply, StoredReply
    from llm_gateway.peers.artifacts import Artifacts

_LIMIT_BYTES = 256 << 20
_AT_ONCE = 256 << 10


class AnotherFile(Exception):
    """Where a reply belongs lies a file that is none of the request's."""


@dataclass(frozen=True, slots=True)
class Found:
    """A stored reply: its file, and what the file says."""

    file: ReplyFile
    reply: StoredReply

    def output(self) -> Output:
        return Output(self.file.path, self.file.digest, self.file.summary, self.reply.finish_reason)


class Replies:
    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts

    async def draft(
        self, reply: Reply, request_digest: str, attempt: int, provider_request_id: str
    ) -> ReplyDraft:
        """Return a reply as it will be stored."""
        if len(reply.text) > _AT_ONCE:
            body, digest, summary = await asyncio.to_thread(_facts, reply)
        else:
            body, digest, summary = _facts(reply)
        return ReplyDraft(
            body=body,
            digest=digest,
            summary=summary,
            metrics=reply.metrics(),
            request_digest=request_digest,
            attempt=attempt,
            provider_request_id=provider_request_id,
        )

    async def put(self, tenant_id: str, key: CallKey, draft: ReplyDraft) -> ReplyFile | None:
        """Store a reply; None when another attempt's reply is stored already."""
        return await self._artifacts.put(tenant_id, key, draft)

    async def find(self, tenant_id: str, key: CallKey, request_digest: str) -> Found | None:
        """Return the stored reply to a request; None when there is none.

        Raises AnotherFile when one lies there that no gateway wrote for this request.
        """
        file = await self._artifacts.find(tenant_id, key.path(tenant_id))
        if file is None:
            return None
        if file.request_digest != request_digest:
            raise AnotherFile
        content = await self._content(tenant_id, File(file.path, file.digest))
        try:
            return Found(file, read(content, structured=False))  # nobody asks for its text
        except NotJson:
            raise AnotherFile from None

    async def text(self, tenant_id: str, output: Output, *, structured: bool) -> str:
        """Return a stored reply's text, character for character as it was streamed."""
        content = await self._content(tenant_id, File(output.path, output.digest))
        return read(content, structured=structured).text

    async def _content(self, tenant_id: str, file: File) -> bytes:
        return (await self._artifacts.read(tenant_id, (file,), _LIMIT_BYTES))[file]


def _facts(reply: Reply) -> tuple[bytes, str, str]:
    body = reply.body()
    return body, hashlib.sha256(body).hexdigest(), reply.summary()
