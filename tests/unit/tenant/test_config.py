from __future__ import annotations

import pytest

from servicekit import settings
from servicekit.settings import SettingsInvalid
from tenant.config import Config, ProvisionerAddress, management_address


def test_an_address_is_read_with_its_password_unquoted() -> None:
    address = management_address("postgresql://prov:p%40ss@db.example:6000/nagaya")

    assert address == ProvisionerAddress("db.example", 6000, "prov", "p@ss", "nagaya")
    assert "p@ss" not in repr(address)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("mysql://a:b@c/d", "it is not"),
        ("postgresql://c/nagaya", "it is not"),
        ("postgresql://a:b@c/", "the database ''"),
        ("postgresql://a:b@c/Nagaya", "the database 'Nagaya'"),
        ("postgresql://nagaya:b@c/nagaya", "group role"),
        ("postgresql://a:b@c/nagaya?sslmode=require", "PGSSLMODE"),
        ("postgresql://a:b@c:port/nagaya", "port"),
    ],
)
def test_an_address_that_cannot_work_is_refused(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        management_address(url)


def test_everything_that_is_wrong_is_reported_at_once() -> None:
    with pytest.raises(SettingsInvalid) as error:
        settings.read(
            Config.from_environment,
            {"NAGAYA_PG_URL": "mysql://x", "NAGAYA_CONNECTIONS_PER_ROLE": "0"},
        )

    message = str(error.value)
    for setting in (
        "NAGAYA_PG_URL",
        "NAGAYA_CONNECTIONS_PER_ROLE",
        "NAGAYA_KEYRING_FILE",
        "NAGAYA_LISTEN",
        "NAGAYA_JWKS_FILE",
    ):
        assert setting in message
