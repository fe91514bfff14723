"""How one database server verifies another, while a tenant is moved between them."""

from __future__ import annotations

import pytest

from servicekit.settings import Environment, SettingsInvalid
from tenant.database_tls import DatabaseTls

FILE = {"NAGAYA_MOVE_ROOT_CERT": "/etc/pg/ca.pem"}


@pytest.mark.parametrize(
    ("settings", "encrypted", "wanted"),
    [
        ({}, False, "sslmode=prefer"),
        ({}, True, "sslmode=require"),
        ({"PGSSLMODE": "require"}, True, "sslmode=require"),
        (FILE, True, "sslmode=require"),
        ({"PGSSLMODE": "verify-full"}, True, "sslmode=verify-full sslrootcert=system"),
        ({"PGSSLMODE": "verify-ca"}, True, "sslmode=verify-full sslrootcert=system"),
        ({"PGSSLMODE": "verify-ca"} | FILE, True, "sslmode=verify-ca sslrootcert=/etc/pg/ca.pem"),
        (
            {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/run/ca.pem"} | FILE,
            True,
            "sslmode=verify-full sslrootcert=/etc/pg/ca.pem",
        ),
    ],
)
def test_a_server_verifies_another_where_this_service_verifies_servers(
    settings: dict[str, str], *, encrypted: bool, wanted: str
) -> None:
    tls = DatabaseTls.from_environment(Environment(settings))

    assert tls.between_servers(encrypted=encrypted) == wanted


@pytest.mark.parametrize("file", ["ca.pem", "/etc/a b.pem", "/etc/x'y"])
def test_a_file_that_no_connection_string_can_name_is_refused(file: str) -> None:
    environment = Environment({"NAGAYA_MOVE_ROOT_CERT": file})
    DatabaseTls.from_environment(environment)

    with pytest.raises(SettingsInvalid, match="neither system nor /folder/file"):
        environment.done()
