"""What the claims of issuers mean, as their administrators know them."""

from __future__ import annotations

from typing import Any

import jwt
import pytest

from authentication.claims import ClaimMapping, PeopleRule, person

KEYCLOAK = {
    "sub": "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
    "preferred_username": "ada",
    "scope": "openid profile",
    "resource_access": {"nagaya": {"roles": ["runs.read", "runs.write"]}},
    "groups": ["/tenants/acme", "/editors"],
}
ENTRA = {
    "sub": "pairwise",
    "oid": "9f4880d8-80ba-4c40-97bc-f7a23c703084",
    "scp": "access_as_user",
    "roles": ["nagaya.runs.read", "nagaya.prompts.read", "other.admin"],
    "groups": ["02bd9fd6-8f93-4758-87c3-1fb73740a315"],
}
AUTH0 = {
    "sub": "auth0|ada",
    "scope": "openid",
    "permissions": ["runs.read"],
    "https://nagaya.example/tenants": ["acme"],
}


@pytest.mark.parametrize(
    ("claims", "mapping", "user_id", "tenants", "permissions"),
    [
        (
            KEYCLOAK,
            ClaimMapping(
                user="preferred_username",
                tenants="groups",
                tenant_prefix="/tenants/",
                permissions=("/resource_access/nagaya/roles",),
            ),
            "ada",
            {"acme"},
            {"runs.read", "runs.write"},
        ),
        (
            ENTRA,
            ClaimMapping(user="oid", permissions=("scp", "roles"), permission_prefix="nagaya."),
            ENTRA["oid"],
            set[str](),
            {"runs.read", "prompts.read"},
        ),
        (
            AUTH0,
            ClaimMapping(tenants="https://nagaya.example/tenants", permissions=("permissions",)),
            "auth0|ada",
            {"acme"},
            {"runs.read"},
        ),
    ],
)
def test_claims_of_known_issuers_are_mapped(
    claims: dict[str, Any],
    mapping: ClaimMapping,
    user_id: str,
    tenants: set[str],
    permissions: set[str],
) -> None:
    found = person(claims, PeopleRule(mapping))

    assert (found.user_id, found.tenants, found.scope) == (user_id, tenants, permissions)


def test_groups_have_permissions_and_no_tenants() -> None:
    group = "02bd9fd6-8f93-4758-87c3-1fb73740a315"

    found = person(ENTRA, PeopleRule(groups={group: frozenset({"*"}), "other": frozenset()}))

    assert found.may("tenants.write")
    assert not found.everywhere


@pytest.mark.parametrize("verified", [None, False, "true", 1])
def test_an_email_that_nobody_has_verified_names_nobody(verified: object) -> None:
    claims = {"email": "ada@acme.example", "email_verified": verified}

    with pytest.raises(jwt.InvalidTokenError, match="has not verified"):
        person(claims, PeopleRule(ClaimMapping(user="email")))


def test_a_pointer_reaches_names_with_slashes_and_nothing_beyond_an_object() -> None:
    claims = {"sub": "ada", "a/b": {"c~d": ["acme"]}, "text": "x"}

    def tenants(pointer: str) -> frozenset[str]:
        return person(claims, PeopleRule(ClaimMapping(tenants=pointer))).tenants

    assert tenants("/a~1b/c~0d") == {"acme"}
    assert tenants("/text/0") == frozenset()
    assert tenants("/nowhere/at/all") == frozenset()
