"""HTTP clients for the providers: one connection pool each, owned by the process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import aiohttp

from llm_gateway.domain.models import WireFormat
from llm_gateway.providers.claude import ClaudeMessages
from llm_gateway.providers.gemini import GeminiGenerateContent
from llm_gateway.providers.openai_chat import OpenAiChat
from llm_gateway.providers.openai_responses import OpenAiResponses
from llm_gateway.providers.rejected_parameters import RejectedParameters
from llm_gateway.providers.streaming_request import StreamingRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from llm_gateway.domain.models import Provider
    from llm_gateway.domain.provider_errors import ProviderError
    from llm_gateway.domain.requests import Prompt
    from llm_gateway.providers.base_urls import BaseUrls
    from llm_gateway.providers.keys import ProviderKeys
    from llm_gateway.providers.timeouts import ReadTimeouts
    from llm_gateway.providers.wire_format import WireFormatAdapter

ADAPTERS: dict[WireFormat, WireFormatAdapter] = {
    WireFormat.CLAUDE_MESSAGES: ClaudeMessages(),
    WireFormat.OPENAI_RESPONSES: OpenAiResponses(),
    WireFormat.OPENAI_CHAT: OpenAiChat(),
    WireFormat.GEMINI_GENERATE_CONTENT: GeminiGenerateContent(),
}

_CONNECT_SECONDS = 10.0
_CONNECTIONS = 512
_KEEPALIVE_SECONDS = 3.0
"""How long an idle connection is kept for the next request.

Whether a request is paid for that meets the server closing a kept connection is unknown. So one is
kept for less than the shortest keep-alive that servers have by default: 5 s, of uvicorn (vLLM,
LiteLLM) and Node. A new one costs a TLS handshake: 3 ms of processor time and round trips.
"""
_HEADER_BYTES = 64 << 10  # of one header; some servers send long policies and cookies
_INLINE_CHARACTERS = 1 << 15  # scrubbed here; more in a thread
_ON_LOOP_BYTES = 1 << 20  # encoded here; more in a thread


def _always() -> bool:
    return True


class _Endpoint(NamedTuple):
    """Where a request goes, and the headers that carry the key there."""

    url: str
    authorization: Mapping[str, str]


class ProviderClient:
    """Makes requests to one provider: base URL, key and wire format."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        adapter: WireFormatAdapter,
        base_urls: BaseUrls,
        base_url: str,
        key: str,
        timeouts: ReadTimeouts,
        rejected: RejectedParameters,
    ) -> None:
        self._session = session
        self._adapter = adapter
        self._base_urls = base_urls
        self._base_url = base_url
        self._key = key
        self._timeouts = timeouts
        self._rejected = rejected
        self._endpoints: dict[str, _Endpoint] = {}  # as many as the provider has models

    def request(
        self, prompt: Prompt, attempt_name: str, may_send: Callable[[], bool] = _always
    ) -> StreamingRequest:
        """Prepare one request; nothing is sent before its `texts` are read.

        Nor is anything sent if `may_send` is false at the last moment. The attempt's name goes
        along as a header, so that both sides' logs can be compared.
        """
        adapted = self._rejected.adapt(self._base_url, prompt, self._adapter)
        endpoint = self._endpoint(adapted.request.path)
        headers = {**endpoint.authorization, "x-nagaya-call": attempt_name}
        large = prompt.utf8_bytes > _ON_LOOP_BYTES
        return StreamingRequest(
            self._session,
            self._adapter,
            endpoint.url,
            adapted,
            headers,
            self._timeouts,
            may_send,
            large=large,
        )

    def _endpoint(self, path: str) -> _Endpoint:
        endpoint = self._endpoints.get(path)
        if endpoint is None:
            url = self._base_urls.join(self._base_url, path, self._adapter)
            authorization = self._adapter.authorization(self._key, urlsplit(url).hostname or "")
            endpoint = self._endpoints[path] = _Endpoint(url, authorization)
        return endpoint

    async def scrubbed(self, error: ProviderError, prompt: Prompt, reply: str) -> ProviderError:
        """Return a provider's error without any part of the key, the prompt or the reply."""
        if not error:
            return error
        texts = (prompt.system, *(turn.text for turn in prompt.turns), reply)
        if sum(map(len, texts)) <= _INLINE_CHARACTERS:
            return error.scrubbed((self._key,), texts)
        return await asyncio.to_thread(error.scrubbed, (self._key,), texts)


class ProviderClients:
    """The clients of all providers. Close it when nothing is in flight any more."""

    def __init__(
        self, base_urls: BaseUrls, keys: ProviderKeys, timeouts: ReadTimeouts, reply_seconds: float
    ) -> None:
        self._base_urls = base_urls
        self._keys = keys
        self._timeouts = timeouts
        self._timeout = aiohttp.ClientTimeout(total=reply_seconds, sock_connect=_CONNECT_SECONDS)
        self._rejected = RejectedParameters()
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self._clients: dict[str, tuple[Provider, str, ProviderClient]] = {}

    def client(self, provider: Provider) -> ProviderClient:
        """Return a provider's client.

        Raises ProviderKeyMissing, ProviderKeyUnusable, BaseUrlRefused.
        """
        key = self._keys.of(provider.id)
        known = self._clients.get(provider.id)
        if known is not None and known[:2] == (provider, key):
            return known[2]
        client = self._new_client(provider, key)
        self._clients[provider.id] = provider, key, client
        return client

    async def __aenter__(self) -> ProviderClients:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for session in self._sessions.values():
            await session.close()

    def _new_client(self, provider: Provider, key: str) -> ProviderClient:
        adapter = ADAPTERS[provider.wire_format]
        base_url = provider.api_base_url or adapter.home
        self._base_urls.check(base_url)
        session = self._session(provider.id)
        return ProviderClient(
            session, adapter, self._base_urls, base_url, key, self._timeouts, self._rejected
        )

    def _session(self, provider_id: str) -> aiohttp.ClientSession:
        session = self._sessions.get(provider_id)
        if session is None:
            session = self._sessions[provider_id] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=_CONNECTIONS, keepalive_timeout=_KEEPALIVE_SECONDS
                ),
                max_line_size=_HEADER_BYTES,
                max_field_size=_HEADER_BYTES,
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return session
