"""Where requests with a key in them may go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from llm_gateway.domain.models import WireFormat
from llm_gateway.domain.requests import Prompt
from llm_gateway.errors import BaseUrlRefused
from llm_gateway.providers.base_urls import BaseUrls
from llm_gateway.providers.client import ADAPTERS

if TYPE_CHECKING:
    from llm_gateway.providers.wire_format import WireFormatAdapter

BASE_URLS = BaseUrls(["127.0.0.1", "Stub.Local"])


CLAUDE, RESPONSES, CHAT, GEMINI = (
    ADAPTERS[form]
    for form in (
        WireFormat.CLAUDE_MESSAGES,
        WireFormat.OPENAI_RESPONSES,
        WireFormat.OPENAI_CHAT,
        WireFormat.GEMINI_GENERATE_CONTENT,
    )
)
PATHS = {
    CLAUDE: "/v1/messages",
    RESPONSES: "/v1/responses",
    CHAT: "/v1/chat/completions",
    GEMINI: "/v1/models/m:streamGenerateContent?alt=sse",
}
OF_GEMINI = "/models/m:streamGenerateContent?alt=sse"


@pytest.mark.parametrize(
    ("adapter", "base", "url"),
    [
        (CLAUDE, "https://api.anthropic.com", "https://api.anthropic.com/v1/messages"),
        (CLAUDE, "https://host/", "https://host/v1/messages"),
        (CLAUDE, "http://127.0.0.1:80/claude", "http://127.0.0.1:80/claude/v1/messages"),
        (CLAUDE, "https://host/v1x/api", "https://host/v1x/api/v1/messages"),
        (CLAUDE, "https://host/v1/messages", "https://host/v1/messages"),
        (CLAUDE, "https://host/v1/messages/", "https://host/v1/messages"),
        (CLAUDE, "https://host/messages-api", "https://host/messages-api/v1/messages"),
        (RESPONSES, "https://host", "https://host/v1/responses"),
        (RESPONSES, "https://host/v1/responses", "https://host/v1/responses"),
        (RESPONSES, "https://host/v1/chat/completions", "https://host/v1/responses"),
        (CHAT, "https://host", "https://host/v1/chat/completions"),
        (CHAT, "https://host/v1/", "https://host/v1/chat/completions"),
        (CHAT, "https://host/api/v1", "https://host/api/v1/chat/completions"),
        (CHAT, "https://host/paas/v4", "https://host/paas/v4/chat/completions"),
        (CHAT, "https://host/v1beta/openai/", "https://host/v1beta/openai/chat/completions"),
        (CHAT, "https://host/inference", "https://host/inference/chat/completions"),
        (CHAT, "https://host/v1/chat/completions", "https://host/v1/chat/completions"),
        (
            CHAT,
            "https://host/inference/chat/completions",
            "https://host/inference/chat/completions",
        ),
        (
            CHAT,
            "https://x.openai.azure.com/openai/deployments/d/chat/completions?api-version=2026-06-01",
            "https://x.openai.azure.com/openai/deployments/d/chat/completions?api-version=2026-06-01",
        ),
        (CHAT, "https://host?api-version=1", "https://host/v1/chat/completions?api-version=1"),
        (GEMINI, "https://host", f"https://host/v1{OF_GEMINI}"),
        (GEMINI, "https://host/v1beta/", f"https://host/v1beta{OF_GEMINI}"),
        (GEMINI, "https://host/v1beta/models", f"https://host/v1beta{OF_GEMINI}"),
        (GEMINI, "https://host/v1beta/models/x:generateContent", f"https://host/v1beta{OF_GEMINI}"),
        (GEMINI, "https://host/v1beta/openai/", f"https://host/v1beta{OF_GEMINI}"),
        (GEMINI, "https://host?api-version=1", f"https://host/v1{OF_GEMINI}&api-version=1"),
    ],
)
def test_a_base_url_is_understood_as_people_copy_it(
    adapter: WireFormatAdapter, base: str, url: str
) -> None:
    assert BASE_URLS.join(base, PATHS[adapter], adapter) == url


@pytest.mark.parametrize(
    ("name", "path"),
    [("m", "m"), ("models/m", "m"), ("tuned/m", "tuned%2Fm"), ("models/tuned/m", "tuned%2Fm")],
)
def test_a_model_of_geminis_may_be_named_as_its_list_names_it(name: str, path: str) -> None:
    prompt = Prompt(name, "", (), 1, temperature=None, output_schema=None, utf8_bytes=0)

    assert GEMINI.request(prompt).path == f"/v1/models/{path}:streamGenerateContent?alt=sse"


def test_azure_gets_its_key_in_its_own_header() -> None:
    assert CHAT.authorization("k", "x.openai.azure.com") == {"api-key": "k"}
    assert CHAT.authorization("k", "azure.com.evil.com") == {"authorization": "Bearer k"}


@pytest.mark.parametrize(
    "base",
    [
        "http://10.0.0.1",
        "http://localhost",
        "http://127.0.0.1.evil.com",
        "ftp://127.0.0.1",
        "https://",
        "http://[::1",
        "https://xn--\u2100..a/",
        "",
    ],
)
def test_plain_http_goes_to_configured_hosts_only(base: str) -> None:
    with pytest.raises(BaseUrlRefused):
        BASE_URLS.check(base)


def test_without_configuration_there_is_https_only() -> None:
    BaseUrls([]).check("https://anywhere")

    with pytest.raises(BaseUrlRefused):
        BaseUrls([]).check("http://127.0.0.1")
