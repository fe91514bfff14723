"""Replies as they are stored, and those that lie in the artifacts service.

A reply lies beside its call. Earlier versions stored it as a file, and so does this one for a
tenant whose database has no place for it until its migration has run.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jsonvalues import NotJson
from llm_gateway.domain.calls import CallOutput
from llm_gateway.domain.files import FileRef, ReplyDraft
from llm_gateway.domain.replies import read

if TYPE_CHECKING:
    from llm_gateway.domain.calls import CallKey, LlmCall
    from llm_gateway.domain.files import ReplyFile
    from llm_gateway.domain.replies import Reply, StoredReply
    from llm_gateway.ledger.kept_replies import KeptReplies
    from llm_gateway.peers.artifacts import Artifacts

_INLINE_CHARACTERS = 256 << 10  # encoded and hashed here; longer replies in a thread


class UnexpectedFile(Exception):
    """The file at a reply's path is not a reply to the request."""


@dataclass(frozen=True, slots=True)
class FoundReply:
    """A reply that an earlier process left behind: where it is, and what it says."""

    output: CallOutput
    reply: StoredReply
    attempt: int
    provider_request_id: str
    body: bytes | None
    """The reply itself; None where it is a file."""


class ReplyStorage:
    """Encodes replies, stores them as files, and finds those that were stored or kept."""

    def __init__(self, artifacts: Artifacts, kept_replies: KeptReplies) -> None:
        self._artifacts = artifacts
        self._kept_replies = kept_replies

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
        """Store a reply as a file; None when another attempt's is stored already."""
        return await self._artifacts.put(tenant_id, key, draft)

    async def find(self, tenant_id: str, call: LlmCall) -> FoundReply | None:
        """Return the kept or stored reply to a call that is not settled; None when there is none.

        Raises UnexpectedFile.
        """
        kept = await self._kept_replies.find(tenant_id, call.id)
        if kept is not None:
            stored = read(kept.body, structured=False)  # its text is not needed
            output = CallOutput("", kept.digest, kept.summary, stored.finish_reason)
            return FoundReply(output, stored, kept.attempt, kept.provider_request_id, kept.body)
        file = await self._artifacts.find(tenant_id, call.key.path(tenant_id))
        if file is None:
            return None
        if file.request_digest != call.request_digest:
            raise UnexpectedFile
        chunks = self._artifacts.reply(tenant_id, FileRef(file.path, file.digest))
        async with aclosing(chunks):
            content = b"".join([chunk async for chunk in chunks])
        try:
            stored = read(content, structured=False)
        except NotJson:
            raise UnexpectedFile from None
        output = CallOutput(file.path, file.digest, file.summary, stored.finish_reason)
        return FoundReply(output, stored, file.attempt, file.provider_request_id, None)


def _encode(reply: Reply) -> tuple[bytes, str, str]:
    body = reply.body()
    return body, hashlib.sha256(body).hexdigest(), reply.summary()
