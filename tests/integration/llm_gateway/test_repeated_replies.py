"""A reply that fits no schema may be chance; the same one a second time is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fixtures.provider_streams import CHAT
from tests.fixtures.scripted_provider import Reply
from tests.integration.llm_gateway.asking import by_id, struct
from tests.integration.llm_gateway.house import SCRIPTED

if TYPE_CHECKING:
    from tests.fixtures.scripted_provider import ScriptedProvider
    from tests.integration.llm_gateway.asking import Asking

SCHEMA = struct({"type": "object", "properties": {"title": {"type": "string"}}})


async def test_the_same_bad_reply_is_paid_twice_at_most(
    scripted: ScriptedProvider, asking: Asking
) -> None:
    scripted.script(asking.word, Reply(CHAT.whole("Here is the title: Cranes")))
    spec = asking.spec(model=by_id(SCRIPTED["chat"]), output_schema=SCHEMA)

    refusals = [await asking.refusal(spec) for _ in range(4)]

    assert {refused.reason for refused in refusals} == {"REPLY_INVALID"}
    assert "came twice" in str(refusals[3])
    assert len(scripted.requests(asking.word)) == 2


async def test_another_bad_reply_may_still_be_chance(
    scripted: ScriptedProvider, asking: Asking
) -> None:
    bad = (Reply(CHAT.whole(f"Title number {number}")) for number in range(2))
    scripted.script(asking.word, *bad, Reply(CHAT.whole('{"title": "Cranes"}')))
    spec = asking.spec(model=by_id(SCRIPTED["chat"]), output_schema=SCHEMA)
    for _ in range(2):
        await asking.refusal(spec)

    done = await asking.ask(spec)

    assert (await asking.files.reply(done.call))["content"] == {"title": "Cranes"}
