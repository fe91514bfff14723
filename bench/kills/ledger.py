"""What is found after a kill run: the ledger, the provider's log, the replies."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.kills.questions import name_of
from nagaya.llm_gateway.v1 import call_pb2, call_service_pb2

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    import asyncpg

    from bench.kills.verdicts import Verdicts
    from nagaya.llm_gateway.v1 import call_service_pb2_grpc

_UNKNOWN = call_pb2.CALL_STATE_UNKNOWN
_NEVER_SENT = (
    "the lease was over before it could be sent",
    "the provider cannot be reached",
)
_LATE = ("another reply had been stored before", "another reply had settled the call before")
"""What the ledger says of an attempt that was unknown until its own reply came too late.

Its process stood still for longer than its lease: it is shown as failed then, with its cost.
"""
_MILLION = 1_000_000
_USAGE = (
    "input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens",
)  # fmt: skip


@dataclass(slots=True)
class Sent:
    """One request as the provider logged it."""

    call: str
    body: dict[str, Any]
    replied: bool = False
    """Whether it was answered with a reply, and so is charged; not if it was refused."""
    digest: str = ""
    usage: dict[str, int] = field(default_factory=dict[str, int])


def read_provider_log(path: Path) -> list[Sent]:
    """Return every request that the provider got, in order."""
    sent: dict[int, Sent] = {}
    for line in path.read_text().splitlines():
        each = json.loads(line)
        if each["event"] == "asked":
            sent[each["serial"]] = Sent(each["call"], each["body"])
        elif each["event"] == "replied":
            one = sent[each["serial"]]
            one.replied, one.digest, one.usage = True, each["digest"], each["usage"]
    return list(sent.values())


async def read_ledger(
    calls: call_service_pb2_grpc.CallServiceStub, tenant_id: str, credentials: list[tuple[str, str]]
) -> dict[str, call_pb2.Call]:
    """Return all calls of a tenant, by name."""
    request = call_service_pb2.ListCallsRequest(tenant_id=tenant_id, page_size=200)
    found: dict[str, call_pb2.Call] = {}
    while True:
        page = await calls.ListCalls(request, metadata=credentials)
        found |= {name_of(call.key): call for call in page.calls}
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


def judge_payments(
    verdicts: Verdicts,
    calls: dict[str, call_pb2.Call],
    sent: list[Sent],
    redone: Collection[str] = (),
) -> None:
    """Judge the ledger by what the provider counted.

    Only calls in `redone` may be charged twice, and only after an attempt that was unknown.
    """
    recorded = {
        f"{name}/{attempt.attempt}": attempt
        for name, call in calls.items()
        for attempt in call.attempts
    }
    counted: defaultdict[str, list[Sent]] = defaultdict(list)
    paid: defaultdict[str, list[str]] = defaultdict(list)
    for one in sent:
        counted[one.call].append(one)
        if one.replied:
            paid[one.call.rpartition("/")[0]].append(one.call)
    states = Counter(attempt.state for attempt in recorded.values())
    verdicts.note("requests at the provider", f"{len(sent):,}")
    verdicts.note("  of these charged", f"{sum(one.replied for one in sent):,}")
    verdicts.note("attempts in the ledger", f"{len(recorded):,}")
    verdicts.note("  of these unknown", f"{states[_UNKNOWN]:,}")
    verdicts.none("attempts sent twice", [c for c, found in counted.items() if len(found) > 1])
    verdicts.none("requests that the ledger does not have", [*(counted.keys() - recorded.keys())])
    _judge_unsent(verdicts, recorded, counted)
    _judge_twice(verdicts, recorded, paid, redone)
    _judge_settled(verdicts, recorded, counted)


def _judge_unsent(
    verdicts: Verdicts, recorded: dict[str, call_pb2.CallAttempt], counted: dict[str, list[Sent]]
) -> None:
    """Judge the attempts that the provider has not seen."""
    unsent = {name for name, attempt in recorded.items() if attempt.error in _NEVER_SENT}
    verdicts.note("  of these never sent, and so recorded", f"{len(unsent):,}")
    verdicts.none(
        "attempts that were sent although they are recorded so", [*(unsent & counted.keys())]
    )
    verdicts.none(
        "attempts that are not unknown and were not sent",
        [
            f"{name}: {call_pb2.CallState.Name(attempt.state)}, {attempt.error}"
            for name, attempt in recorded.items()
            if attempt.state != _UNKNOWN and name not in counted and name not in unsent
        ],
    )


def _judge_twice(
    verdicts: Verdicts,
    recorded: dict[str, call_pb2.CallAttempt],
    paid: dict[str, list[str]],
    redone: Collection[str],
) -> None:
    """Judge the keys that were charged more than once, by name of their attempts."""
    twice = {key: names for key, names in paid.items() if len(names) > 1}
    unexplained: list[str] = []
    for key, names in twice.items():
        attempts = [recorded[name] for name in names if name in recorded]
        if sum(map(_is_or_was_unknown, attempts)) < len(names) - 1:
            unexplained.append(key)
    verdicts.note("keys charged twice, after an unknown attempt", len(twice) - len(unexplained))
    verdicts.none("keys charged twice without an attempt shown as unknown", unexplained)
    verdicts.none("keys charged twice that were not to be", [*(twice.keys() - {*redone})])


def _judge_settled(
    verdicts: Verdicts, recorded: dict[str, call_pb2.CallAttempt], counted: dict[str, list[Sent]]
) -> None:
    """Judge that what is settled was charged, with the provider's own usage."""
    settled = {n: a for n, a in recorded.items() if a.state == call_pb2.CALL_STATE_SETTLED}
    charged = {n: one for n, found in counted.items() for one in found if one.replied}
    verdicts.none("settled attempts that were not charged", [*(settled.keys() - charged.keys())])
    verdicts.none(
        "settled attempts whose usage is another than the provider's",
        [
            f"{name}: {attempt.usage} instead of {one.usage}"
            for name, attempt in settled.items()
            if (one := charged.get(name)) is not None
            and any(getattr(attempt.usage, field) != n for field, n in one.usage.items())
        ],
    )


def _is_or_was_unknown(attempt: call_pb2.CallAttempt) -> bool:
    return attempt.state == _UNKNOWN or attempt.error in _LATE


async def judge_costs(
    verdicts: Verdicts,
    calls: dict[str, call_pb2.Call],
    management: asyncpg.Connection[asyncpg.Record],
) -> None:
    """Judge every attempt's cost by its usage and the price list, and every call's by its sum."""
    rows = await management.fetch(
        """
        SELECT id, input_micro_usd, cache_read_micro_usd, cache_write_micro_usd, output_micro_usd,
               output_micro_usd AS reasoning_micro_usd
          FROM llm_prices
        """
    )
    prices = {row["id"]: tuple(row)[1:] for row in rows}
    wrong: list[str] = []
    for name, call in calls.items():
        rates = prices[call.resolution.price_id]
        for attempt in call.attempts:
            used = [getattr(attempt.usage, field) for field in _USAGE]
            cost = -(-sum(n * rate for n, rate in zip(used, rates, strict=True)) // _MILLION)
            if cost != attempt.cost_micro_usd:
                wrong.append(f"{name}/{attempt.attempt}: {attempt.cost_micro_usd}, not {cost}")
        if call.cost_micro_usd != sum(each.cost_micro_usd for each in call.attempts):
            wrong.append(f"{name}: {call.cost_micro_usd} is not the sum of its attempts")
        wrong += [
            f"{name}: {field} is not the sum of its attempts"
            for field in _USAGE
            if getattr(call.usage, field) != sum(getattr(a.usage, field) for a in call.attempts)
        ]
    verdicts.none("attempts and calls whose cost or usage is wrong", wrong)


async def judge_sums(
    verdicts: Verdicts,
    calls: dict[str, call_pb2.Call],
    service: call_service_pb2_grpc.CallServiceStub,
    tenant_id: str,
    credentials: list[tuple[str, str]],
) -> None:
    """Judge what SummarizeUsage says of each run by the calls of the ledger."""
    costs: defaultdict[str, list[int]] = defaultdict(list)
    for call in calls.values():
        costs[call.key.run_id].append(call.cost_micro_usd)
    request = call_service_pb2.SummarizeUsageRequest(tenant_id=tenant_id, run_ids=[*costs])
    summed = (await service.SummarizeUsage(request, metadata=credentials)).run_usages
    verdicts.none(
        f"{tenant_id}: runs whose sums are wrong",
        [
            usage.run_id
            for usage in summed
            if (usage.calls, usage.open_calls, usage.cost_micro_usd)
            != (len(costs[usage.run_id]), 0, sum(costs[usage.run_id]))
        ],
    )
