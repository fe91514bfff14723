"""Passwords of database roles, and their SCRAM verifiers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

# Iterations make guesses dear, and a password of 256 random bits cannot be guessed. PostgreSQL
# computes each verifier once more, and each login computes it on both sides.
_ITERATIONS = 1
_SALT_BYTES = 16


def new_password() -> str:
    """Return a password of 256 random bits."""
    return secrets.token_urlsafe(32)


def scram_verifier(password: str) -> str:
    """Return the verifier that PostgreSQL stores for a password of `new_password` (RFC 5803).

    ALTER ROLE takes it in place of the password, so the server and its log never see that.
    """
    salt = secrets.token_bytes(_SALT_BYTES)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, _ITERATIONS)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    keys = f"{_base64(stored_key)}:{_base64(server_key)}"
    return f"SCRAM-SHA-256${_ITERATIONS}:{_base64(salt)}${keys}"


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
