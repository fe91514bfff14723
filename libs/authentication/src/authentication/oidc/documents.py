"""What an issuer publishes: its configuration (OpenID Connect Discovery 1.0) and its keys."""

from __future__ import annotations

import json
import ssl
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

import aiohttp

from authentication.keys import KeySet, read_keys
from servicekit.errors import IssuerUnavailable, StartRefused
from servicekit.identity import WORKLOAD_KEY_PREFIX

if TYPE_CHECKING:
    from pathlib import Path

MOST_BYTES = 256 << 10
_TIMEOUT = aiohttp.ClientTimeout(total=5.0, sock_connect=3.0)
_CONFIGURATION = "/.well-known/openid-configuration"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_OK = 200


def is_trusted_address(url: str) -> bool:
    """Return whether what comes from there may be believed: by TLS, or from this machine."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    is_here = parts.hostname in _LOOPBACK
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and is_here)
    )


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """Return whom to trust: the system's authorities, or a file's. Raises StartRefused."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as error:
        raise StartRefused(f"{ca_file} holds no certificates (PEM): {error}") from None


async def fetch_keys(session: aiohttp.ClientSession, issuer: str) -> KeySet:
    """Fetch an issuer's configuration, and the keys that it names. Raises IssuerUnavailable.

    Nothing but the issuer itself, by its configuration, says where its keys are: no redirection is
    followed, and no key of a workload is taken.
    """
    address = issuer.rstrip("/") + _CONFIGURATION
    configuration = _object(await _get(session, address), address)
    if configuration.get("issuer") != issuer:
        named = str(configuration.get("issuer"))[:200]
        raise IssuerUnavailable(f"{address} names another issuer: {named}")
    keys_address = configuration.get("jwks_uri")
    if not isinstance(keys_address, str) or not is_trusted_address(keys_address):
        raise IssuerUnavailable(f"{address}: jwks_uri is no https:// address")
    if keys_address.startswith("http:") and not issuer.startswith("http:"):
        raise IssuerUnavailable(f"{address}: jwks_uri is no https:// address")
    try:
        keys = read_keys(await _get(session, keys_address))
    except ValueError as error:
        raise IssuerUnavailable(f"{keys_address}: {error}") from None
    usable = {kid: of for kid, of in keys.items() if not kid.startswith(WORKLOAD_KEY_PREFIX)}
    if not usable:
        raise IssuerUnavailable(f"{keys_address}: none of its keys verifies signatures")
    return usable


async def _get(session: aiohttp.ClientSession, url: str) -> bytes:
    try:
        async with session.get(url, allow_redirects=False, timeout=_TIMEOUT) as response:
            if response.status != _OK:
                raise IssuerUnavailable(f"{url} answers with status {response.status}")
            content = bytearray()
            async for chunk in response.content.iter_any():
                content += chunk
                if len(content) > MOST_BYTES:
                    raise IssuerUnavailable(f"{url} answers with more than {MOST_BYTES} bytes")
            return bytes(content)
    except aiohttp.ClientConnectorCertificateError as error:
        raise IssuerUnavailable(f"{url}: its certificate is not trusted: {error}") from None
    except (aiohttp.ClientError, ValueError, OSError) as error:
        raise IssuerUnavailable(
            f"{url} cannot be reached: {error or type(error).__name__}"
        ) from None


def _object(content: bytes, url: str) -> dict[str, object]:
    try:
        found: object = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise IssuerUnavailable(f"{url} answers with no JSON object")
    return cast("dict[str, object]", found)
