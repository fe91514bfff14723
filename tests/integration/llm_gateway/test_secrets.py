"""Keys and bodies stay where they belong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.audit_log import chain
from tests.support.gateway_client import REDO, Refused, by_id

if TYPE_CHECKING:
    from tests.support.gateway_client import GatewayClient
    from tests.support.gateway_stack import GatewayStack

FAULTS = (
    {"kind": "status", "status": 401, "message": "the key key-of-claude-CANARY is wrong"},
    {"kind": "status", "status": 400, "message": "BODY-CANARY"},
    {"kind": "error_event", "message": "BODY-CANARY"},
    {"kind": "failed", "message": "BODY-CANARY"},
    {"kind": "drop", "after_bytes": 700},
    {"kind": "truncated_json"},
    {"kind": "reply", "text": "a reply BODY-CANARY"},
)


async def test_no_key_prompt_or_reply_is_in_a_log_a_table_or_a_refusal(
    stack: GatewayStack, client: GatewayClient
) -> None:
    number = 0
    refusals: list[str] = []
    for model in ("claude-sonnet-5-5", "gpt-6.2-sol", "gemini-3.8-flash"):
        for fault in FAULTS:
            number += 1
            stack.stub.script(client.word, fault, times=1)
            spec = client.spec("BODY-CANARY", call=number, model=by_id(model), unknown_policy=REDO)
            try:
                await client.generate(spec)
            except Refused as error:
                refusals.append(f"{error} {error.metadata}")

    logs = {log.name: log.read_text() for log in stack.folder.glob("*.log")}
    await chain(client.database)
    rows = [
        str(dict(row))
        for table in ("llm_calls", "llm_call_attempts", "audit_logs")
        for row in await client.database.fetch(f"SELECT * FROM {table}")
    ]
    assert len(refusals) > 5
    assert sum("an attempt failed" in text for text in logs.values()) >= 1
    for text in (*logs.values(), *rows, *refusals):
        assert "CANARY" not in text
        assert client.word not in text
