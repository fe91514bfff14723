"""Webhooks: endpoints, how far each has been told of a run, and how messages are signed.

Messages follow Standard Webhooks 1.0 (https://www.standardwebhooks.com): the headers `webhook-id`,
`webhook-timestamp` and `webhook-signature`, HMAC-SHA256 over `{id}.{timestamp}.{body}`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import random
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from jsonvalues import canonical
from runs.domain.runs import Run, RunStatus
from runs.domain.steps import StepStatus
from servicekit.errors import Violation

if TYPE_CHECKING:
    from datetime import datetime

    from runs.domain.events import RunEvent
    from runs.domain.receivers import AllowedReceivers

SECRET_PREFIX = "whsec_"  # noqa: S105 - what secrets begin with, no secret
FORMER_SECRET = timedelta(hours=24)
"""How long messages are signed with the former secret too."""

_RUNS = tuple(f"run.{status}" for status in RunStatus)
_STEPS = tuple(f"step.{status}" for status in StepStatus)
EVENT_TYPES = frozenset({*_RUNS, *_STEPS, "run.*", "step.*"})
_SOONEST, _LATEST = 5.0, 3_600.0


class EndpointState(StrEnum):
    """As the column `webhook_endpoints.state` holds it."""

    ENABLED = "enabled"
    DISABLED = "disabled"


class DeliveryState(StrEnum):
    """As the column `webhook_deliveries.state` holds it."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class WebhookSpec:
    """Where events are sent, and which."""

    url: str
    event_types: tuple[str, ...]
    """Every change of a run when empty."""
    pipelines: tuple[str, ...]
    """Of which pipelines' runs; of all when empty."""

    def violations(self, receivers: AllowedReceivers) -> list[Violation]:
        """Return what is wrong with it, by its fields."""
        known = ", ".join(sorted(EVENT_TYPES))
        found = [
            Violation("event_types", f"there is no type {name[:64]!r}; there are {known}")
            for name in self.event_types
            if name not in EVENT_TYPES
        ]
        fault = receivers.fault(self.url)
        return [*found, Violation("url", fault)] if fault else found

    def takes(self, event_type: str) -> bool:
        """Return whether events of a type are sent."""
        wanted = self.event_types or ("run.*",)
        return event_type in wanted or event_type.partition(".")[0] + ".*" in wanted

    @property
    def taken_types(self) -> tuple[str, ...]:
        """The types of events that are sent, each by its whole name."""
        return tuple(filter(self.takes, (*_RUNS, *_STEPS)))

    @property
    def digest(self) -> str:
        """The sha256 of everything that it says."""
        said = [self.url, sorted(self.event_types), sorted(self.pipelines)]
        return hashlib.sha256(canonical(said)).hexdigest()

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""


@dataclass(frozen=True, slots=True)
class WebhookEndpoint:
    """An endpoint as its row tells it."""

    endpoint_id: str
    name: str
    spec: WebhookSpec
    state: EndpointState
    disabled_reason: str
    secret: int
    """The number of its secret: each rotation makes the next one."""
    former_until: datetime | None
    """Until when messages are signed with the secret before it too."""
    pending_runs: int
    failing_runs: int
    dead_runs: int
    user_id: str
    create_time: datetime
    update_time: datetime

    def secret_name(self, number: int) -> str:
        """Return the name under which a secret of its is kept."""
        return f"webhook/{self.endpoint_id}/{number}"


@dataclass(frozen=True, slots=True)
class Delivery:
    """How far an endpoint has been told of a run."""

    endpoint: str
    run_id: str
    state: DeliveryState
    next_sequence: int
    attempts: int
    failing_since: datetime | None
    retry_time: datetime | None
    failure: str
    delivery_time: datetime | None


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """Events of a run that are to be sent now."""

    endpoint_id: str
    run_id: str
    generation: int
    """Grows with each replay: what was under way before it changes nothing afterwards."""
    next_sequence: int
    attempts: int


def event_type(event: RunEvent) -> str:
    """Return the type of an event, such as `run.completed`."""
    kind = "run" if isinstance(event.subject, Run) else "step"
    return f"{kind}.{event.subject.status}"


def message_id(event: RunEvent) -> str:
    """Return the id of an event's message; each attempt to send it has the same."""
    return f"{event.run_id}.{event.sequence}"


def signature(secret: str, message: str, timestamp: int, body: bytes) -> str:
    """Return the signature of a message; `secret` is `whsec_` and base64."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = f"{message}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def seconds_until_retry(attempts: int) -> float:
    """Return in how many seconds to try again after so many attempts: 5 s, then twice as long."""
    longest = min(_SOONEST * 2 ** min(attempts - 1, 20), _LATEST)
    return longest * random.uniform(0.75, 1.0)  # noqa: S311 - keeps retries apart
