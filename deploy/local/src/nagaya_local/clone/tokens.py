"""Tokens for people, signed by the clone's own issuer."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import jwt

from nagaya_local.clone.keys import ISSUER, ISSUER_KID, Keys
from nagaya_local.errors import LocalError, UsageInvalid
from nagaya_local.machine import files

if TYPE_CHECKING:
    from pathlib import Path

    from nagaya_local.clone.layout import Layout

AUDIENCE = "nagaya"
OPERATOR = "operator"
_DAYS = 30
TENANT_SCOPE = (
    "runs.* prompts.* pipelines.* artifacts.* calls.* "
    "catalog.read overrides.read audit.read tenants.read"
)
# As in the contract.
_TENANT_ID = re.compile(r"[a-z][a-z0-9-]{1,38}[a-z0-9]")


def issue_operator_token(layout: Layout) -> Path:
    """Write the token of who may do everything; returns its file."""
    return _issue(layout, OPERATOR, OPERATOR, "*", "*")


def issue_tenant_token(layout: Layout, tenant_id: str) -> Path:
    """Write a token for a person of one tenant; returns its file, `var/dev/tokens/<tenant>.jwt`.

    Does not ask whether there is such a tenant. Raises LocalError when the stack has never been
    up, or the id could not be a tenant's.
    """
    check_tenant_id(tenant_id)
    return _issue(layout, tenant_id, f"user@{tenant_id}", tenant_id, TENANT_SCOPE)


def check_tenant_id(tenant_id: str) -> None:
    """Raises UsageInvalid when the id could not be a tenant's, or its token the operator's."""
    if not _TENANT_ID.fullmatch(tenant_id):
        raise UsageInvalid(
            f"{tenant_id!r} is no tenant's id",
            "It has 3 to 40 lower-case letters, digits and hyphens, the first a letter, the last "
            "no hyphen.",
        )
    if tenant_id == OPERATOR:
        raise UsageInvalid(
            f"{OPERATOR}.jwt is the token of who may do everything",
            "Give the tenant another id.",
        )


def token_file(layout: Layout, name: str) -> Path:
    """Where the token of a tenant, or the operator's, is written."""
    return layout.tokens / f"{name}.jwt"


def operator_token(layout: Layout) -> str:
    """Return the operator's token as it was issued last."""
    return token_file(layout, OPERATOR).read_text().strip()


def renew_tokens(layout: Layout) -> None:
    """Write every token anew that has been issued, and the operator's in any case."""
    for path in layout.tokens.glob("*.jwt"):
        if path.stem != OPERATOR and _TENANT_ID.fullmatch(path.stem):
            issue_tenant_token(layout, path.stem)
    issue_operator_token(layout)


def _issue(layout: Layout, name: str, user_id: str, tenant: str, scope: str) -> Path:
    keys = Keys(layout.keys)
    if not keys.issuer.exists():
        raise LocalError("this clone has no keys yet", "Run `nagaya dev up` first.")
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": user_id,
        "iat": now,
        "exp": now + _DAYS * 24 * 3600,
        "scope": scope,
        "tenants": [tenant],
    }
    token = jwt.encode(claims, keys.issuer_key(), algorithm="ES256", headers={"kid": ISSUER_KID})
    path = token_file(layout, name)
    files.write_private(path, token + "\n")
    path.parent.chmod(0o700)
    return path
