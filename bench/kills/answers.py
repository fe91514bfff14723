"""What callers were told in a kill run, beside the ledger, the replies, and what was sent."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING

import grpc

from nagaya.llm_gateway.v1 import call_pb2

if TYPE_CHECKING:
    from bench.kills.callers import GatewayCaller, Received
    from bench.kills.ledger import Sent
    from bench.kills.questions import Question
    from bench.kills.verdicts import Verdicts

_READERS = 16
_SETTLED = call_pb2.CALL_STATE_SETTLED


async def read_replies(
    gateway: GatewayCaller, received: Received
) -> dict[str, tuple[str, bytes] | None]:
    """Return digest and bytes of every acknowledged reply as GetReply sends it; None when lost."""
    waiting = iter({answer.question.name: answer.question for answer in received.answers}.values())
    found: dict[str, tuple[str, bytes] | None] = {}

    async def reader() -> None:
        for question in waiting:
            try:
                found[question.name] = await gateway.get_reply(question)
            except grpc.aio.AioRpcError:
                found[question.name] = None

    await asyncio.gather(*(reader() for _ in range(_READERS)))
    return found


def judge_prompts(verdicts: Verdicts, asked: list[Question], sent: list[Sent]) -> None:
    """Judge that the provider was asked what callers asked, files included."""
    prompts = {question.name: question.prompt for question in asked}
    verdicts.none(
        "requests whose prompt is another than what was asked",
        [
            one.call
            for one in sent
            if one.body["messages"][-1]["content"] != prompts.get(one.call.rpartition("/")[0])
        ],
    )


def judge_answers(verdicts: Verdicts, received: Received, calls: dict[str, call_pb2.Call]) -> None:
    """Judge what callers were told by the ledger as it is in the end."""
    verdicts.note("answers with a reply", f"{len(received.answers):,}")
    verdicts.note("answers that the outcome is unknown", f"{len(received.unknown):,}")
    nothing = call_pb2.Call()
    verdicts.none(
        "acknowledged calls that are not settled as they were told",
        [
            f"{each.question.name}: told {_words(each.call)}, is {_words(call)}"
            for each in received.answers
            if (call := calls.get(each.question.name, nothing)).state != _SETTLED
            or call.output_digest != each.call.output_digest
            or (call.cost_micro_usd < each.call.cost_micro_usd and not _is_estimate(each.call))
        ],
    )
    verdicts.none(
        "calls told unknown although they were to be redone",
        [question.name for question in received.unknown if question.redone],
    )
    verdicts.none(
        "calls told unknown that are neither that nor settled late",
        [
            question.name
            for question in received.unknown
            if calls.get(question.name, nothing).state
            not in (_SETTLED, call_pb2.CALL_STATE_UNKNOWN)
        ],
    )
    known = {each.question.name for each in received.answers} | {
        each.name for each in received.unknown
    }
    verdicts.none("calls that nobody asked for", [*(calls.keys() - known - {*received.unanswered})])


def _is_estimate(call: call_pb2.Call) -> bool:
    """Return whether a cost may have been told that was too large: of an attempt without usage."""
    return any(attempt.estimated for attempt in call.attempts)


def _words(call: call_pb2.Call) -> str:
    state = call_pb2.CallState.Name(call.state)
    return f"{state} {call.output_digest[:8]} for {call.cost_micro_usd} micro-USD"


def judge_asked_again(verdicts: Verdicts, again: Received, calls: dict[str, call_pb2.Call]) -> None:
    """Judge what was told of keys that were asked again when all was over."""
    verdicts.note("keys asked again at the end", f"{len(again.answers) + len(again.unknown):,}")
    verdicts.none(
        "keys asked again with another answer",
        [
            each.question.name
            for each in again.answers
            if calls[each.question.name].output_digest != each.call.output_digest
            or not (each.replayed or each.question.streamed)
        ],
    )


def judge_replies(
    verdicts: Verdicts,
    received: Received,
    sent: list[Sent],
    replies: dict[str, tuple[str, bytes] | None],
) -> None:
    """Judge every reply that was acknowledged: it is there, unchanged, and the provider's."""
    lost: list[str] = []
    changed: list[str] = []
    foreign: list[str] = []
    digests = {one.call: one.digest for one in sent}
    for answer in received.answers:
        name, call = answer.question.name, answer.call
        reply = replies[name]
        if reply is None:
            lost.append(name)
            continue
        digest, data = reply
        if {digest, _digest(data)} != {call.output_digest} or answer.reply not in (None, data):
            changed.append(name)
        text = _text_of(data, structured=answer.question.structured)
        if answer.text not in (None, text):
            changed.append(f"{name}: the stream said something else")
        payers = [each.attempt for each in call.attempts if each.state == _SETTLED]
        if [digests.get(f"{name}/{number}") for number in payers] != [_digest(text.encode())]:
            foreign.append(f"{name}: settled by {payers}")
    verdicts.note("acknowledged replies read again by GetReply", f"{len(replies):,}")
    verdicts.none("acknowledged replies lost", lost)
    verdicts.none("acknowledged replies changed", changed)
    verdicts.none("replies that the provider did not send for that attempt", foreign)


def _text_of(reply: bytes, *, structured: bool) -> str:
    """Return the text of a reply, as the provider sent it."""
    content = json.loads(reply)["content"]
    return json.dumps(content) if structured else str(content)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
