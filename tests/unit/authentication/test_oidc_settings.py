"""The settings of an OpenID Connect issuer, and the file of its groups."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.support.oidc_verifier import configured, verifying

from authentication.verifier import open_verifier
from servicekit.errors import StartRefused
from servicekit.settings import SettingsInvalid
from servicekit.testing import ISSUER

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.oidc_issuer import OidcIssuer

    from servicekit.testing import Keys


async def test_the_groups_of_the_issuer_have_the_permissions_of_a_file(
    keys: Keys, issuer: OidcIssuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("authentication.watched_file._RECHECK_SECONDS", 0.0)
    groups = tmp_path / "groups.json"
    groups.write_text('{"/editors": ["runs.*", "prompts.read"]}')
    async with verifying(keys, issuer.url, NAGAYA_OIDC_GROUPS_FILE=str(groups)) as verifier:
        token = issuer.token("first", groups=["/editors", "/others"])

        assert (await verifier.verify(token)).scope == {"runs.*", "prompts.read", "runs.read"}

        groups.write_text('{"/editors": ["prompts.read"], "/others": []}')
        assert (await verifier.verify(token)).scope == {"prompts.read", "runs.read"}


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"a": "runs.read"}', '{"a": ["read everything"]}', '{"a": [1]}']
)
def test_a_file_of_groups_that_says_nothing_clear_is_refused(
    keys: Keys, tmp_path: Path, content: str
) -> None:
    groups = tmp_path / "groups.json"
    groups.write_text(content)
    config = configured(keys, "https://issuer", NAGAYA_OIDC_GROUPS_FILE=str(groups))

    async def start() -> None:
        async with open_verifier(*config):
            pass

    with pytest.raises(StartRefused, match="holds no permissions of groups"):
        asyncio.run(start())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"NAGAYA_OIDC_ISSUER": "http://issuer.test"}, "not https://, nor http:// on this machine"),
        ({"NAGAYA_OIDC_ISSUER": "issuer.test"}, "not https://, nor http:// on this machine"),
        ({"NAGAYA_OIDC_ISSUER": "https://[x"}, "not https://, nor http:// on this machine"),
        ({"NAGAYA_OIDC_ISSUER": ISSUER}, "are the same"),
        ({"NAGAYA_OIDC_ISSUER": "", "NAGAYA_TOKEN_ISSUER": ""}, "who issues people's tokens?"),
        ({"NAGAYA_OIDC_ISSUER": "", "NAGAYA_OIDC_AUDIENCE": "me"}, "other .* settings do nothing"),
        ({"NAGAYA_OIDC_ISSUER": "", "NAGAYA_OIDC_CA_FILE": "/"}, "other .* settings do nothing"),
        ({"NAGAYA_OIDC_ISSUER": "", "NAGAYA_OIDC_USER_CLAIM": "oid"}, "other .* settings do"),
        ({"NAGAYA_OIDC_GROUPS_FILE": "/nowhere"}, "there is no such file"),
    ],
)
def test_settings_that_trust_nobody_or_anybody_are_refused(
    keys: Keys, changes: dict[str, str], words: str
) -> None:
    with pytest.raises(SettingsInvalid, match=words):
        configured(keys, "https://issuer", **changes)
