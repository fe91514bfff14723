"""Logging in on whatever device has a browser: the device authorization grant of RFC 8628."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nagaya_client.errors import LoginFailed
from nagaya_client.login.issuer import IssuerRefused, number

if TYPE_CHECKING:
    from collections.abc import Callable

    from nagaya_client.login.grant import Grant
    from nagaya_client.login.issuer import Issuer

ENDPOINT = "device_authorization_endpoint"
_GRANT_TYPE = "urn:ietf:params:oauth:grant-type:device_code"
_INTERVAL_SECONDS = 5.0
_CODE_SECONDS = 600.0
"""How long a code is taken to be good where the provider does not say."""
_SLOWER_SECONDS = 5.0
_LONGEST_INTERVAL_SECONDS = 60.0
_LATE = "nobody entered the code in time"
_AGAIN = "`nagaya login` begins anew."


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """What a person is asked to do: open an address, and enter a code there."""

    user_code: str
    verification_uri: str
    complete_uri: str
    """The address that has the code in it; empty where the provider gives none."""
    device_code: str
    interval: float
    """How many seconds to wait between two questions whether it was done."""
    seconds: float
    """How long the code is good for."""


def begin(issuer: Issuer) -> DeviceCode:
    """Ask for a code. Raises LoginFailed."""
    try:
        answer = issuer.post(ENDPOINT, {"scope": issuer.scope, **issuer.settings.api})
    except IssuerRefused as refused:
        hint = "Where a client may not log in by a code, `nagaya login --browser` needs none."
        raise LoginFailed(refused.message, hint, transient=refused.transient) from None

    def text(name: str) -> str:
        return str(answer.get(name) or "")

    if not (text("device_code") and text("user_code") and text("verification_uri")):
        raise LoginFailed(f"{issuer.settings.issuer} gave no code to log in with")
    return DeviceCode(
        text("user_code"),
        text("verification_uri"),
        text("verification_uri_complete"),
        text("device_code"),
        _seconds(answer.get("interval"), _INTERVAL_SECONDS),
        _seconds(answer.get("expires_in"), _CODE_SECONDS),
    )


def finish(
    issuer: Issuer, code: DeviceCode, sleep: Callable[[float], object] = time.sleep
) -> Grant:
    """Wait until a person has entered the code, and return what they are given.

    Raises LoginFailed when they refuse, or the code is no longer good.
    """
    interval, end = code.interval, time.monotonic() + code.seconds
    while time.monotonic() < end:
        sleep(interval)
        try:
            return issuer.token({"grant_type": _GRANT_TYPE, "device_code": code.device_code})
        except IssuerRefused as refused:
            interval = _next(interval, refused)
        except LoginFailed as failed:
            if not failed.transient:
                raise
            interval = _longer(interval)
    raise LoginFailed(_LATE, _AGAIN)


def _next(interval: float, refused: IssuerRefused) -> float:
    """Return how long to wait before the next question. Raises LoginFailed where there is none."""
    match refused.error:
        case "authorization_pending":
            return interval
        case "slow_down":
            return interval + _SLOWER_SECONDS
        case "access_denied":
            raise LoginFailed("the login was refused", _AGAIN)
        case "expired_token":
            raise LoginFailed(_LATE, _AGAIN)
        case _ if refused.transient:
            return _longer(interval)
        case _:
            raise refused


def _longer(interval: float) -> float:
    return min(2 * interval, _LONGEST_INTERVAL_SECONDS)


def _seconds(value: object, otherwise: float) -> float:
    said = number(value)
    return said if said is not None and said > 0 else otherwise
