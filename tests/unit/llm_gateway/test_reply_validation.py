"""How many replies are held to their schemas at once, and whose."""

from __future__ import annotations

import asyncio
import threading

from llm_gateway.app.reply_validation import SchemaValidator
from llm_gateway.domain.replies import Reply
from llm_gateway.domain.schemas import OutputSchema
from llm_gateway.domain.usage import FinishReason, Usage


async def test_few_replies_are_checked_at_once_and_no_tenant_waits_for_all_of_another() -> None:
    validator, released, inside, most = SchemaValidator(), threading.Event(), 0, 0
    begun: list[str] = []
    loop = asyncio.get_running_loop()
    come = {"acme": asyncio.Event(), "globex": asyncio.Event()}

    def schema(tenant_id: str) -> OutputSchema:
        class Held(OutputSchema):
            def check(self, value: object) -> None:
                nonlocal inside, most
                inside += 1
                most = max(most, inside)
                begun.append(tenant_id)
                loop.call_soon_threadsafe(come[tenant_id].set)
                released.wait(30)
                inside -= 1

        return Held({})

    reply = Reply("{}", FinishReason.STOP, Usage(), "openai", "gpt-5", structured=True)
    many = [
        asyncio.create_task(validator.mismatch("acme", schema("acme"), reply)) for _ in range(50)
    ]
    await asyncio.wait_for(come["acme"].wait(), 30)
    one = asyncio.create_task(validator.mismatch("globex", schema("globex"), reply))
    await asyncio.wait_for(come["globex"].wait(), 30)
    ahead = list(begun)
    released.set()
    answers = await asyncio.gather(*many, one)

    assert ahead == ["acme", "globex"]
    assert most <= 2
    assert set(answers) == {""}
