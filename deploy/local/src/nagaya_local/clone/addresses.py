"""Addresses in the environment that replace embedded parts."""

from __future__ import annotations

from urllib.parse import urlsplit

from nagaya_local.errors import EnvironmentInvalid

_FORMS = {
    "NAGAYA_PG_URL": (("postgresql", "postgres"), "postgresql://ROLE:PASSWORD@HOST:PORT/DATABASE"),
    "S3_ENDPOINT": (("http", "https"), "http://HOST:PORT or https://HOST:PORT"),
    "TEMPORAL_ADDRESS": (("", "http", "https"), "HOST:PORT, or https://HOST:PORT for TLS"),
}


def external_address(name: str, address: str, own_port: int | None) -> str | None:
    """Return the address that a variable gives; None when it is empty, or of the stack's own part.

    Raises EnvironmentInvalid when it is no address.
    """
    if not address:
        return None
    schemes, form = _FORMS[name]
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        port = parts.port
    except ValueError:
        port = -1
    portless = port is None and parts.scheme == ""  # no scheme, so no usual port
    if parts.scheme not in schemes or not parts.hostname or port == -1 or portless:
        # What it is instead is not told: a database's address holds a password.
        raise EnvironmentInvalid(
            f"{name} is not {form}", "Correct it, or unset it for the embedded part."
        )
    return None if (parts.hostname, port) == ("127.0.0.1", own_port) else address
