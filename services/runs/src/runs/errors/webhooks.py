"""Errors of webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from servicekit.errors import AlreadyExists, InvalidInput, NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servicekit.errors import Violation


class WebhookInvalid(InvalidInput):
    """A webhook's address must not be sent to, or there is no such type of event."""

    reason = "ERROR_REASON_WEBHOOK_INVALID"
    hint = (
        "Each fault is listed in the details of the status. Networks that are not public are "
        "allowed by the operator, in NAGAYA_WEBHOOK_NETWORKS."
    )

    def __init__(self, violations: Sequence[Violation]) -> None:
        first = violations[0]
        others = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        super().__init__(f"{first.field}: {first.description}{others}", violations=violations)


class WebhookEndpointNotFound(NotFound):
    """The tenant has no webhook endpoint of this name."""

    reason = "ERROR_REASON_WEBHOOK_ENDPOINT_NOT_FOUND"
    hint = "List the tenant's endpoints with ListWebhookEndpoints."

    def __init__(self, endpoint: str) -> None:
        super().__init__(f"there is no webhook endpoint {endpoint}", endpoint=endpoint)


class WebhookEndpointExists(AlreadyExists):
    """Another webhook endpoint of the tenant has this name."""

    reason = "ERROR_REASON_WEBHOOK_ENDPOINT_EXISTS"
    hint = "Change it with UpdateWebhookEndpoint, or choose another name."

    def __init__(self, endpoint: str) -> None:
        super().__init__(f"there is a webhook endpoint {endpoint} already", endpoint=endpoint)
