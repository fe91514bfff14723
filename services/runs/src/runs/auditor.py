"""The auditor of histories: proves that no body has entered Temporal.

`python -m runs.auditor [CANARY ...]` walks every history of the namespace and exits with 1 when
an event holds a canary, or a payload over its limit. The fences keep both out; this looks.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload

from runs.config import TemporalConfig
from runs.fences import START_LIMIT
from runs.launcher import connect

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from temporalio.client import Client, WorkflowHistory

EVENT_LIMIT = START_LIMIT + 2_048
"""The most bytes that one event may take: the largest payload, and what stands around it."""


@dataclass(frozen=True, slots=True)
class Finding:
    workflow_id: str
    event_id: int
    what: str


async def audit(client: Client, canaries: Sequence[str] = ()) -> tuple[tuple[Finding, ...], int]:
    """Walk every history of the namespace; return what was found, and how many there were."""
    findings: list[Finding] = []
    histories = 0
    async for workflow in client.list_workflows():
        history = await client.get_workflow_handle(
            workflow.id, run_id=workflow.run_id
        ).fetch_history()
        findings += examine(history, canaries)
        histories += 1
    return tuple(findings), histories


def examine(history: WorkflowHistory, canaries: Sequence[str] = ()) -> Iterator[Finding]:
    """Find what a history should not hold."""
    for event in history.events:
        data = event.SerializeToString()
        for canary in canaries:
            if canary.encode() in data:
                yield Finding(history.workflow_id, event.event_id, "holds a canary")
        if len(data) > EVENT_LIMIT:
            what = f"takes {len(data):,} bytes"
            yield Finding(history.workflow_id, event.event_id, what)
        for payload in payloads(event):
            if payload.ByteSize() > START_LIMIT:
                what = f"has a payload of {payload.ByteSize():,} bytes"
                yield Finding(history.workflow_id, event.event_id, what)


def payloads(message: Message) -> Iterator[Payload]:
    """Find every payload in a message: arguments, results, headers, memos, details, failures."""
    if isinstance(message, Payload):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for inner in _messages(value):
            yield from payloads(inner)


def _messages(value: Any) -> Iterator[Message]:  # noqa: ANN401 - a message, or a container of them
    if isinstance(value, Message):
        yield value
        return
    for inner in value.values() if hasattr(value, "values") else value:
        if isinstance(inner, Message):
            yield inner


async def _main(canaries: Sequence[str]) -> int:
    client = await connect(TemporalConfig.read(), lazy=False)
    findings, histories = await audit(client, canaries)
    for finding in findings:
        sys.stdout.write(f"{finding.workflow_id} event {finding.event_id} {finding.what}\n")
    sys.stdout.write(f"{histories} histories, {len(findings)} findings\n")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(_main(sys.argv[1:])))
