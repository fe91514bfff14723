"""Sockets to the providers: one session each, owned by the process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp

from llm_gateway.domain.models import WireFormat
from llm_gateway.providers.claude import ClaudeMessages
from llm_gateway.providers.exchange import Exchange, Patience
from llm_gateway.providers.gemini import GeminiGenerateContent
from llm_gateway.providers.openai_chat import OpenAiChat
from llm_gateway.providers.openai_responses import OpenAiResponses
from llm_gateway.providers.parameters import Parameters

if TYPE_CHECKING:
    from types import SimpleNamespace, TracebackType

    from llm_gateway.domain.models import Provider
    from llm_gateway.domain.provider_errors import ProviderError
    from llm_gateway.domain.requests import Prompt
    from llm_gateway.providers.addresses import Addresses
    from llm_gateway.providers.keys import ProviderKeys
    from llm_gateway.providers.wire_format import WireFormatAdapter

ADAPTERS: dict[WireFormat, WireFormatAdapter] = {
    WireFormat.CLAUDE_MESSAGES: ClaudeMessages(),
    WireFormat.OPENAI_RESPONSES: OpenAiResponses(),
    WireFormat.OPENAI_CHAT: OpenAiChat(),
    WireFormat.GEMINI_GENERATE_CONTENT: GeminiGenerateContent(),
}

_CONNECT_SECONDS = 10.0
_CONNECTIONS = 512
_KEPT_SECONDS = 3.0
"""How long an idle connection is kept for the next request.

Whether a request that meets the server's closing of a kept connection was paid for, nobody knows.
So one is kept for less than the shortest time that servers are delivered with: 5 s, of uvicorn
(vLLM, LiteLLM) and Node. A new one costs a TLS handshake: 3 ms of processor time and round trips.
"""
_HEADER_BYTES = 64 << 10  # of one header; some servers send long policies and cookies
_SHORT = 1 << 15  # characters that are gone through between two calls
_LARGE = 1 << 20  # bytes that take too long to encode between two calls


class Line:
    """The way to ask one provider: where, with which key, in which wire format."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        adapter: WireFormatAdapter,
        addresses: Addresses,
        base_url: str,
        key: str,
        patience: Patience,
        parameters: Parameters,
    ) -> None:
        self._patience = patience
        self._parameters = parameters
        self._session = session
        self._adapter = adapter
        self._addresses = addresses
        self._base_url = base_url
        self._key = key

    def exchange(self, prompt: Prompt, attempt_name: str) -> Exchange:
        """Prepare one request; nothing is sent before its texts are read.

        Providers do not look at the attempt's name; whoever reads both logs can.
        """
        asked = self._parameters.prepare(self._base_url, prompt, self._adapter)
        url = self._addresses.join(self._base_url, asked.request.path, self._adapter)
        host = urlsplit(url).hostname or ""
        headers = {
            **self._adapter.authorization(self._key, host),
            "x-nagaya-call": attempt_name,
        }
        large = prompt.utf8_bytes > _LARGE
        return Exchange(
            self._session, self._adapter, url, asked, headers, self._patience, large=large
        )

    async def scrubbed(self, told: ProviderError, prompt: Prompt, heard: str) -> ProviderError:
        """Return what may be kept of a provider's words: nothing of the key, prompt or reply."""
        if not told:
            return told
        texts = (prompt.system, *(turn.text for turn in prompt.turns), heard)
        if sum(map(len, texts)) <= _SHORT:
            return told.scrubbed((self._key,), texts)
        return await asyncio.to_thread(told.scrubbed, (self._key,), texts)


class Providers:
    """Opens lines. Close it when nothing is in flight any more."""

    def __init__(
        self, addresses: Addresses, keys: ProviderKeys, patience: Patience, reply_seconds: float
    ) -> None:
        self._addresses = addresses
        self._keys = keys
        self._patience = patience
        self._timeout = aiohttp.ClientTimeout(total=reply_seconds, sock_connect=_CONNECT_SECONDS)
        self._parameters = Parameters()
        self._sessions: dict[str, aiohttp.ClientSession] = {}

    def line(self, provider: Provider) -> Line:
        """Return the way to ask a provider.

        Raises ProviderKeyMissing, ProviderKeyUnusable, BaseUrlRefused.
        """
        adapter = ADAPTERS[provider.wire_format]
        base_url = provider.api_base_url or adapter.home
        self._addresses.check(base_url)
        key = self._keys.of(provider.id)
        session = self._session(provider.id)
        return Line(
            session, adapter, self._addresses, base_url, key, self._patience, self._parameters
        )

    async def __aenter__(self) -> Providers:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for session in self._sessions.values():
            await session.close()

    def _session(self, provider_id: str) -> aiohttp.ClientSession:
        session = self._sessions.get(provider_id)
        if session is None:
            session = self._sessions[provider_id] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_CONNECTIONS, keepalive_timeout=_KEPT_SECONDS),
                trace_configs=[_note_sent(aiohttp.TraceConfig())],
                max_line_size=_HEADER_BYTES,
                max_field_size=_HEADER_BYTES,
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return session


def _note_sent(config: aiohttp.TraceConfig) -> aiohttp.TraceConfig:
    """Let a session note when the head of an exchange's request has been written."""

    async def sent(
        _: aiohttp.ClientSession,
        context: SimpleNamespace,
        __: aiohttp.TraceRequestHeadersSentParams,
    ) -> None:
        context.trace_request_ctx.sent = True

    config.on_request_headers_sent.append(sent)
    return config
