"""Verifies messages of webhooks, as Standard Webhooks 1.0 has them."""

from __future__ import annotations

import base64
import hmac
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

TOLERANCE_SECONDS = 300


def fault(
    secret: str,
    headers: Mapping[str, str],
    body: bytes,
    tolerance_seconds: float | None = TOLERANCE_SECONDS,
) -> str:
    """Return what is wrong with a message, empty if nothing is.

    `secret` is `whsec_` and base64, `headers` have the three of the message in lower case, `body`
    is the request's body as it came. A message that is older, or of later, than the tolerance is
    refused, so that nobody sends an old one again; None takes any.
    """
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        sent = int(headers["webhook-timestamp"])
        message, given = headers["webhook-id"], headers["webhook-signature"]
    except KeyError as error:
        return f"it has no header {error.args[0]}"
    except ValueError:
        return "the secret is no whsec_ and base64, or the timestamp is no number"
    signed = hmac.digest(key, f"{message}.{sent}.".encode() + body, "sha256")
    expected = "v1," + base64.b64encode(signed).decode()
    if not any(hmac.compare_digest(expected.encode(), one.encode()) for one in given.split()):
        return "it was signed with another secret, or changed on its way"
    if tolerance_seconds is not None and abs(time.time() - sent) > tolerance_seconds:
        return f"it was sent more than {tolerance_seconds:.0f} s ago, or in the future"
    return ""
