"""Encryption of secrets at rest: AES-256-GCM, bound to the row and column they are stored in."""

from __future__ import annotations

import base64
import json
import secrets
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from servicekit.errors import StartRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

_VERSION = "v1"
_NONCE_BYTES = 12
_KEY_BYTES = 32


class KeyRingInvalid(StartRefused):
    """The key ring's file is malformed, or lacks its active key."""


class DecryptionFailed(Exception):
    """A value was changed, moved to another row or column, or encrypted with an unknown key."""


class KeyRing:
    """Encrypts with the active key, and decrypts with any of its keys (AES-256-GCM).

    It takes keys, not a file, so that they may as well come from a key management service.
    """

    def __init__(self, active: str, keys: Mapping[str, bytes]) -> None:
        self.replace(active, keys)

    @classmethod
    def empty(cls) -> KeyRing:
        """Return a ring without keys: until `replace` it decrypts nothing, and must not encrypt."""
        ring = cls.__new__(cls)
        ring._active, ring._keys = "", {}
        return ring

    @property
    def active(self) -> str:
        """The id of the key with which values are encrypted; empty for a ring without keys."""
        return self._active

    @property
    def key_ids(self) -> frozenset[str]:
        """The ids of all keys."""
        return frozenset(self._keys)

    def replace(self, active: str, keys: Mapping[str, bytes]) -> None:
        """Use these keys from now on. Raises KeyRingInvalid, and keeps the keys that it has."""
        if active not in keys:
            raise KeyRingInvalid(f"the active key {active!r} is not among the keys")
        for key_id, key in keys.items():
            if not key_id.isalnum() or len(key) != _KEY_BYTES:
                raise KeyRingInvalid(f"the key {key_id!r} has not {_KEY_BYTES} bytes, or no name")
        self._active = active
        self._keys = {key_id: AESGCM(key) for key_id, key in keys.items()}

    @classmethod
    def parse(cls, text: str) -> KeyRing:
        """Read `{"active": "k1", "keys": {"k1": "<base64>"}}`. Raises KeyRingInvalid."""
        return cls(*parse_keys(text))

    def encrypt(self, secret: str, *place: str) -> str:
        """Encrypt `secret` for one place: a column's name and its row's key."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        associated = _associated_data(self._active, place)
        encrypted = nonce + self._keys[self._active].encrypt(nonce, secret.encode(), associated)
        return f"{_VERSION}.{self._active}.{base64.urlsafe_b64encode(encrypted).decode()}"

    def decrypt(self, encrypted: str, *place: str) -> str:
        """Return the secret that was encrypted for this place. Raises DecryptionFailed."""
        version, _, rest = encrypted.partition(".")
        key_id, _, body = rest.partition(".")
        key = self._keys.get(key_id)
        if version != _VERSION or key is None:
            raise DecryptionFailed(
                f"an encrypted value of {place[0]} needs the unknown key {key_id!r}"
            )
        try:
            raw = base64.b64decode(body, altchars=b"-_", validate=True)
            secret = key.decrypt(
                raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _associated_data(key_id, place)
            )
        except (InvalidTag, ValueError):
            raise DecryptionFailed(
                f"an encrypted value of {place[0]} does not belong there"
            ) from None
        return secret.decode()


def parse_keys(text: str) -> tuple[str, dict[str, bytes]]:
    """Return the active key's id and all keys of a key ring's file. Raises KeyRingInvalid."""
    try:
        content = json.loads(text)
        keys = {
            str(name): base64.b64decode(key, validate=True) for name, key in content["keys"].items()
        }
        return str(content["active"]), keys
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise KeyRingInvalid(f"the key ring is malformed: {type(error).__name__}") from None


def new_key() -> bytes:
    """Return a key of 256 random bits."""
    return secrets.token_bytes(_KEY_BYTES)


def key_of(encrypted: str) -> str:
    """Return the id of the key that a value is encrypted with."""
    return encrypted.split(".", 2)[1] if encrypted.count(".") > 1 else ""


def _associated_data(key_id: str, place: tuple[str, ...]) -> bytes:
    """Return the additional authenticated data: JSON, so that no two places have the same."""
    return json.dumps([_VERSION, key_id, *place]).encode()
