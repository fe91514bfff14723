"""Storing replies in the artifacts service, and finding stored ones."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jsonvalues import NotJson
from llm_gateway.domain.calls import CallOutput
from llm_gateway.domain.files import FileRef, ReplyDraft
from llm_gateway.domain.replies import read

if TYPE_CHECKING:
    from llm_gateway.domain.calls import CallKey
    from llm_gateway.domain.files import ReplyFile
    from llm_gateway.domain.replies import Reply, StoredReply
    from llm_gateway.peers.artifacts import Artifacts

_LIMIT_BYTES = 256 << 20
_INLINE_CHARACTERS = 256 << 10  # encoded and hashed here; longer replies in a thread


class UnexpectedFile(Exception):
    """The file at a reply's path is not a reply to the request."""


@dataclass(frozen=True, slots=True)
class FoundReply:
    """A stored reply: its file, and the file's content."""

    file: ReplyFile
    reply: StoredReply

    def output(self) -> CallOutput:
        file = self.file
        return CallOutput(file.path, file.digest, file.summary, self.reply.finish_reason)


class ReplyStorage:
    """The replies of calls, as files of the artifacts service."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts

    async def draft(
        self, reply: Reply, request_digest: str, attempt: int, provider_request_id: str
    ) -> ReplyDraft:
        """Return a reply as it will be stored."""
        if len(reply.text) > _INLINE_CHARACTERS:
            body, digest, summary = await asyncio.to_thread(_encode, reply)
        else:
            body, digest, summary = _encode(reply)
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

    async def find(self, tenant_id: str, key: CallKey, request_digest: str) -> FoundReply | None:
        """Return the stored reply to a request; None when there is none. Raises UnexpectedFile."""
        file = await self._artifacts.find(tenant_id, key.path(tenant_id))
        if file is None:
            return None
        if file.request_digest != request_digest:
            raise UnexpectedFile
        content = await self._content(tenant_id, FileRef(file.path, file.digest))
        try:
            return FoundReply(file, read(content, structured=False))  # its text is not needed
        except NotJson:
            raise UnexpectedFile from None

    async def _content(self, tenant_id: str, file: FileRef) -> bytes:
        return (await self._artifacts.read(tenant_id, (file,), _LIMIT_BYTES))[file]


def _encode(reply: Reply) -> tuple[bytes, str, str]:
    body = reply.body()
    return body, hashlib.sha256(body).hexdigest(), reply.summary()
