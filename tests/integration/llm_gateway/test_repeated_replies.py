"""A reply that fits no schema may be chance; the same one a second time is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.catalog import SCRIPTED
from tests.support.gateway_client import by_id, struct
from tests.support.provider_streams import CHAT
from tests.support.scripted_provider import Reply

if TYPE_CHECKING:
    from tests.support.gateway_client import GatewayClient
    from tests.support.scripted_provider import ScriptedProvider

SCHEMA = struct({"type": "object", "properties": {"title": {"type": "string"}}})


async def test_the_same_bad_reply_is_paid_twice_at_most(
    scripted: ScriptedProvider, client: GatewayClient
) -> None:
    scripted.script(client.word, Reply(CHAT.whole("Here is the title: Cranes")))
    spec = client.spec(model=by_id(SCRIPTED["chat"]), output_schema=SCHEMA)

    refusals = [await client.generate_refused(spec) for _ in range(4)]

    assert {refused.reason for refused in refusals} == {"REPLY_INVALID"}
    assert "came twice" in str(refusals[3])
    assert len(scripted.requests(client.word)) == 2


async def test_another_bad_reply_may_still_be_chance(
    scripted: ScriptedProvider, client: GatewayClient
) -> None:
    bad = (Reply(CHAT.whole(f"Title number {number}")) for number in range(2))
    scripted.script(client.word, *bad, Reply(CHAT.whole('{"title": "Cranes"}')))
    spec = client.spec(model=by_id(SCRIPTED["chat"]), output_schema=SCHEMA)
    for _ in range(2):
        await client.generate_refused(spec)

    done = await client.generate(spec)

    assert (await client.reply(done.call))["content"] == {"title": "Cranes"}
