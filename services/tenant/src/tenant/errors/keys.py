"""Errors of key management services."""

from __future__ import annotations

from servicekit.errors import Conflict, Unavailable


class KeyManagementRefused(Conflict):
    """The key management service does not encrypt or decrypt: a permission, or another key."""

    reason = "ERROR_REASON_KEY_MANAGEMENT_REFUSED"
    hint = "Look at the key's policy, whether it is enabled, and NAGAYA_KEY_MANAGEMENT's settings."

    def __init__(self, service: str, why: str) -> None:
        super().__init__(f"{service} refuses: {why}", service=service)


class KeyManagementUnavailable(Unavailable):
    """The key management service cannot be reached."""

    reason = "ERROR_REASON_KEY_MANAGEMENT_UNAVAILABLE"
    hint = "Nothing is lost; call again once it answers."

    def __init__(self, service: str, why: str) -> None:
        super().__init__(f"{service} cannot be reached: {why}", service=service)
