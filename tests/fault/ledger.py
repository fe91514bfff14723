"""The ledger of a tenant's calls, beside the stub's own log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya.llm_gateway.v1 import call_pb2, call_service_pb2

if TYPE_CHECKING:
    from tests.support.stack import LocalStack

    from nagaya_client.client import Client


async def assert_paid_at_most_once(stack: LocalStack, client: Client, tenant_id: str) -> None:
    """Compare the stub's requests with the attempts of the ledger."""
    calls = await ledger(client, tenant_id)
    runs = {call.key.run_id for call in calls}
    begun = [line["idempotency"] or "" for line in stack.calls() if line["event"] == "begin"]
    asked = [name for name in begun if name.partition("/")[0] in runs]
    recorded = {
        f"{name_of(call.key)}/{attempt.attempt}": attempt.state
        for call in calls
        for attempt in call.attempts
    }
    assert len(asked) == len(set(asked)), "an attempt was sent twice"
    assert set(asked) <= recorded.keys()
    # A gateway that dies between committing an attempt and sending it cannot know whether it did.
    unsent = {state for name, state in recorded.items() if name not in asked}
    assert unsent <= {call_pb2.CALL_STATE_UNKNOWN}
    for call in calls:
        assert call.state == call_pb2.CALL_STATE_SETTLED
        spare = [attempt.state for attempt in call.attempts[:-1]]
        assert set(spare) <= {call_pb2.CALL_STATE_UNKNOWN}, call


async def ledger(client: Client, tenant_id: str) -> list[call_pb2.Call]:
    """Return all calls of a tenant."""
    request = call_service_pb2.ListCallsRequest(tenant_id=tenant_id, page_size=200)
    calls: list[call_pb2.Call] = []
    while True:
        page = await client.calls.ListCalls(request)
        calls += page.calls
        if not page.next_page_token:
            return calls
        request.page_token = page.next_page_token


def name_of(key: call_pb2.CallKey) -> str:
    """Return a call as it is named on the wire to a provider, without its attempt."""
    return f"{key.run_id}/{key.step}/{key.item}-{key.visit}/{key.call}"
