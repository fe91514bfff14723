"""The pages about permissions agree with the contracts and with each other."""

from __future__ import annotations

import json
import re
from functools import cache

from docs import permissions
from docs.generate import DOCS, contracts

from authentication.oidc.config import OidcConfig
from nagaya_local.clone import tokens
from servicekit.settings import Environment, ServerConfig

_PERMISSION = re.compile(r"(?m)^\| `([a-z.]+)` \|")


@cache
def known() -> frozenset[str]:
    return frozenset(call.permission for call in permissions.calls(contracts())) - {""}


def matches(permission: str) -> bool:
    family, _, name = permission.partition(".")
    if name == "*":
        return any(one.startswith(f"{family}.") for one in known())
    return permission in known()


def test_every_permission_of_the_contracts_is_on_the_page_with_what_it_allows() -> None:
    page = permissions.page(contracts())

    assert set(_PERMISSION.findall(page)) == known()
    for call in permissions.calls(contracts()):
        assert call.meaning.endswith((".", ":")), f"{call.name}: {call.meaning}"


def test_examples_name_permissions_that_there_are() -> None:
    page = (DOCS / "identity.md").read_text()
    claims = [json.loads(line) for line in re.findall(r"(?m)^\{\"iss\".*\n.*\}$", page)]
    groups = json.loads(re.findall(r"(?m)^\{\"nagaya-operators\".*\}$", page)[0])

    said = [name for token in claims for name in token["scope"].split()]
    said += [name for of in groups.values() for name in of]
    said += tokens.TENANT_SCOPE.split()

    assert len(claims) == 2
    assert [name for name in said if name != "*" and not matches(name)] == []


def test_the_page_names_every_setting_of_an_issuer() -> None:
    page = (DOCS / "identity.md").read_text()
    environment = Environment({})
    OidcConfig.from_environment(environment, ServerConfig.from_environment(environment))
    names = [one.name for one in environment.settings if one.name.startswith("NAGAYA_OIDC_")]

    # The claim of groups is needed only where it is not called so.
    assert [name for name in names if name not in page] == ["NAGAYA_OIDC_GROUPS_CLAIM"]
