"""The transit secrets engine of HashiCorp Vault, by its HTTP API.

https://developer.hashicorp.com/vault/api-docs/secret/transit: `encrypt` and `decrypt` with a key of
a type that takes associated data, such as aes256-gcm96 (Vault 1.13 or later).
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

from tenant.errors.keys import KeyManagementRefused, KeyManagementUnavailable
from tenant.key_management.http import JsonCaller

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_NAME = "Vault"
_OK = 200
# What Vault says while it is sealed, a standby, or being set up: 472 and 473 are of standbys.
_NOT_READY = (412, 472, 473)


class VaultTransit:
    """A key of a transit engine.

    The token is read from its file for each call, so that whatever renews it, such as Vault Agent,
    may replace it.
    """

    def __init__(
        self, address: str, mount: str, key_name: str, token_file: Path, namespace: str = ""
    ) -> None:
        self._base = f"{address.rstrip('/')}/v1/{quote(mount.strip('/'))}"
        self._key_name = quote(key_name, safe="")
        self._token_file = token_file
        self._namespace = namespace
        self._caller = JsonCaller(_NAME)

    async def encrypt(self, plaintext: bytes, context: Mapping[str, str]) -> str:
        """Return the ciphertext, such as `vault:v1:…`."""
        body = {"plaintext": _base64(plaintext), "associated_data": _associated_data(context)}
        return await self._call("encrypt", body, "ciphertext")

    async def decrypt(self, ciphertext: str, context: Mapping[str, str]) -> bytes:
        """Return the plaintext, whichever version of the key it was encrypted with."""
        body = {"ciphertext": ciphertext, "associated_data": _associated_data(context)}
        plaintext = await self._call("decrypt", body, "plaintext")
        try:
            return base64.b64decode(plaintext, validate=True)
        except binascii.Error:
            raise KeyManagementRefused(_NAME, "the plaintext is not base64") from None

    async def close(self) -> None:
        await self._caller.close()

    async def _call(self, operation: str, body: Mapping[str, str], field: str) -> str:
        headers = {
            "X-Vault-Token": self._token(),
            "X-Vault-Request": "true",
            "Content-Type": "application/json",
        }
        if self._namespace:
            headers["X-Vault-Namespace"] = self._namespace
        url = f"{self._base}/{operation}/{self._key_name}"
        status, found = await self._caller.post(url, json.dumps(body).encode(), headers)
        if status in _NOT_READY:
            raise KeyManagementUnavailable(_NAME, f"status {status}")
        data, errors = found.get("data"), found.get("errors")
        value = cast("dict[str, object]", data).get(field) if isinstance(data, dict) else None
        if status == _OK and isinstance(value, str):
            return value
        why = _sentence(cast("list[object]", errors)) if isinstance(errors, list) else "no reason"
        raise KeyManagementRefused(_NAME, f"status {status}: {why}")

    def _token(self) -> str:
        try:
            return self._token_file.read_text().strip()
        except OSError as error:
            raise KeyManagementUnavailable(_NAME, f"no token: {error.strerror}") from error


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _associated_data(context: Mapping[str, str]) -> str:
    return _base64(json.dumps(dict(sorted(context.items()))).encode())


def _sentence(errors: list[object]) -> str:
    return "; ".join(str(error).strip().replace("\n", " ") for error in errors)[:300]
