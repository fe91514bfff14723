"""`python -m runs.auditor`: checks that no body has entered Temporal.

`python -m runs.auditor [CANARY ...]` walks every history of the namespace and exits with 1 when
an event holds a canary, or a payload over its limit, and with 2 when it cannot look. The
converters in `runs.temporal` keep both out; this checks it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.service import RPCError

from runs.config import read_temporal_config
from runs.temporal.client import connect
from runs.temporal.payload_converter import START_LIMIT
from servicekit.errors import StartRefused
from servicekit.process import leave
from servicekit.settings import SettingsInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from temporalio.client import Client, WorkflowHistory

    from runs.temporal_config import TemporalConfig

EVENT_LIMIT = START_LIMIT + 2_048
"""The most bytes that one event may take: the largest payload, and what stands around it."""


@dataclass(frozen=True, slots=True)
class HistoryFinding:
    """An event that holds what it should not."""

    workflow_id: str
    event_id: int
    what: str


async def audit(
    client: Client, canaries: Sequence[str] = ()
) -> tuple[tuple[HistoryFinding, ...], int]:
    """Walk every history of the namespace; return what was found, and how many there were."""
    findings: list[HistoryFinding] = []
    histories = 0
    async for workflow in client.list_workflows():
        history = await client.get_workflow_handle(
            workflow.id, run_id=workflow.run_id
        ).fetch_history()
        findings += examine(history, canaries)
        histories += 1
    return tuple(findings), histories


def examine(history: WorkflowHistory, canaries: Sequence[str] = ()) -> Iterator[HistoryFinding]:
    """Find what a history should not hold."""
    forms = [_forms(canary) for canary in canaries]
    for event in history.events:
        data = event.SerializeToString()
        for canary in forms:
            if any(form in data for form in canary):
                yield HistoryFinding(history.workflow_id, event.event_id, "holds a canary")
        if len(data) > EVENT_LIMIT:
            what = f"takes {len(data):,} bytes"
            yield HistoryFinding(history.workflow_id, event.event_id, what)
        for payload in payloads(event):
            if payload.ByteSize() > START_LIMIT:
                what = f"has a payload of {payload.ByteSize():,} bytes"
                yield HistoryFinding(history.workflow_id, event.event_id, what)


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


def _forms(canary: str) -> tuple[bytes, bytes]:
    """Return a canary as a failure's message holds it, and as a payload does, which is JSON."""
    return canary.encode(), json.dumps(canary)[1:-1].encode()


def _messages(value: Any) -> Iterator[Message]:  # noqa: ANN401 - a message, or a container of them
    if isinstance(value, Message):
        yield value
        return
    for inner in value.values() if hasattr(value, "values") else value:
        if isinstance(inner, Message):
            yield inner


async def _audit(config: TemporalConfig, canaries: Sequence[str]) -> int:
    try:
        client = await connect(config, lazy=False)
    except RuntimeError:  # so the SDK says that it cannot connect
        raise StartRefused(f"Temporal cannot be reached at {config.address}") from None
    findings, histories = await audit(client, canaries)
    for finding in findings:
        sys.stdout.write(f"{finding.workflow_id} event {finding.event_id} {finding.what}\n")
    sys.stdout.write(f"{histories} histories, {len(findings)} findings\n")
    return 1 if findings else 0


def main(arguments: Sequence[str]) -> int:
    """Walk the histories and print what was found. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m runs.auditor",
        description="Walk every history of Temporal's namespace and look for bodies. Exits with 1"
        " when something is found, with 2 when it cannot look. TEMPORAL_ADDRESS and"
        " NAGAYA_TEMPORAL_NAMESPACE say where.",
    )
    parser.add_argument("canaries", metavar="CANARY", nargs="*", help="what no event may hold")
    canaries = parser.parse_args(arguments).canaries
    try:
        return asyncio.run(_audit(read_temporal_config(), canaries))
    except SettingsInvalid as error:
        why = "; ".join(error.problems)
    except (StartRefused, RPCError) as error:
        why = str(error)
    sys.stderr.write(f"{parser.prog}: {why}\n")
    return 2


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
