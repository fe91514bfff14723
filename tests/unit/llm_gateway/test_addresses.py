"""Where requests with a key in them may go."""

from __future__ import annotations

import pytest

from llm_gateway.errors import BaseUrlRefused
from llm_gateway.providers.addresses import Addresses

ADDRESSES = Addresses(["127.0.0.1", "Stub.Local"])


@pytest.mark.parametrize(
    ("base", "path", "url"),
    [
        ("https://api.anthropic.com", "/v1/messages", "https://api.anthropic.com/v1/messages"),
        ("https://host/", "/v1/messages", "https://host/v1/messages"),
        ("http://127.0.0.1:80/claude", "/v1/messages", "http://127.0.0.1:80/claude/v1/messages"),
        ("http://stub.local:1/openai/v1", "/v1/x", "http://stub.local:1/openai/v1/x"),
        ("https://host/v1beta", "/v1/models/m", "https://host/v1beta/models/m"),
        ("https://host/v1beta/", "/v1/models/m", "https://host/v1beta/models/m"),
        ("https://host/v1x/api", "/v1/m", "https://host/v1x/api/v1/m"),
    ],
)
def test_a_base_url_keeps_its_own_version(base: str, path: str, url: str) -> None:
    assert ADDRESSES.join(base, path) == url


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
        ADDRESSES.check(base)


def test_without_configuration_there_is_https_only() -> None:
    Addresses([]).check("https://anywhere")

    with pytest.raises(BaseUrlRefused):
        Addresses([]).check("http://127.0.0.1")
