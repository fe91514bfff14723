"""The gateway's kill run: two gateways, many keys, everything around them killed.

Judged from outside: by the provider's own log, by what callers were told, by the RPCs that a
customer has, and by the columns of the tenants' databases.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import asyncpg
from tests.support.gateway_stack import TENANTS
from tests.support.run_files import RunFiles

from bench.kills import audit_chain
from bench.kills.answers import (
    judge_answers,
    judge_asked_again,
    judge_prompts,
    judge_replies,
    read_replies,
)
from bench.kills.callers import CALL_SECONDS, Callers, GatewayCaller, Received
from bench.kills.chaos import Chaos, terminate_backends
from bench.kills.gateway_parts import LEASE_SECONDS, running_gateway_parts
from bench.kills.ledger import (
    judge_costs,
    judge_payments,
    judge_sums,
    read_ledger,
    read_provider_log,
)
from bench.kills.logs import judge_logs
from bench.kills.questions import FILE, Question, questions
from bench.kills.verdicts import Verdicts
from nagaya.llm_gateway.v1 import call_pb2

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from bench.kills.chaos import Harm
    from bench.kills.gateway_parts import GatewayParts

RUNS_PER_TENANT = 8
CALLS = 20_000
_HARMS = {"gateways killed": 30, "gateways frozen": 4, "backends": 12, "postmasters killed": 3}
"""How often, for so many calls."""
_QUERIES = {
    "calls left open": "SELECT id FROM llm_calls WHERE lease_owner IS NOT NULL",
    "attempts left open or without a call": """
        SELECT call_id, attempt FROM llm_call_attempts LEFT JOIN llm_calls ON id = call_id
         WHERE id IS NULL OR llm_call_attempts.state = 'dispatched'
    """,
    "replies of calls that are not settled": """
        SELECT call_id, state FROM llm_call_replies LEFT JOIN llm_calls ON id = call_id
         WHERE state IS DISTINCT FROM 'settled'
    """,
    "replies of an attempt that did not settle": """
        SELECT call_id, attempt, state FROM llm_call_replies AS reply
          LEFT JOIN llm_call_attempts AS attempt USING (call_id, attempt)
         WHERE state IS DISTINCT FROM 'settled'
    """,
    "settled calls without their reply": """
        SELECT id FROM llm_calls LEFT JOIN llm_call_replies ON id = call_id
         WHERE state = 'settled' AND call_id IS NULL
    """,
    "replies whose bytes are not those of their digest": """
        SELECT id FROM llm_calls JOIN llm_call_replies ON id = call_id
         WHERE encode(sha256(body), 'hex') <> output_digest
    """,
}
_CLOSING_SECONDS = 90.0
_ASKED_AGAIN = 20
"""One of so many keys is asked again at the end."""


def run(calls: int, seed: int, folder: Path) -> int:
    """Return how many promises were broken; everything lies in a folder."""

    async def inside() -> int:
        async with running_gateway_parts(folder) as parts:
            return await GatewayRun(parts, calls, seed).run()

    return asyncio.run(inside())


class GatewayRun:
    """One run: its callers, what is done to the processes, and the judgement."""

    def __init__(self, parts: GatewayParts, calls: int, seed: int) -> None:
        self._parts = parts
        self._count = calls
        self._seed = seed
        self._began = time.monotonic()
        self._verdicts = Verdicts()

    async def run(self) -> int:
        stack, verdicts = self._parts.stack, self._verdicts
        asked = questions(self._seed, self._count, await self._create_runs())
        gateways = [GatewayCaller(each.process, stack.keys) for each in self._parts.gateways]
        callers = Callers(gateways)
        try:
            chaos = Chaos(self._seed, self._harms())
            await self._ask_all(callers, asked, chaos)
            seconds = time.monotonic() - self._began
            verdicts.note("calls asked", f"{len(asked):,}")
            verdicts.note("  by two gateways at once", f"{sum(q.raced for q in asked):,}")
            verdicts.note("  a second", f"{len(asked) / seconds:.0f}")
            for name, times in sorted(chaos.done.items()):
                verdicts.note(name, times)
            again = await self._ask_again(callers, asked)
            await self._wait_until_closed()
            await self._judge(callers, asked, again, gateways)
        finally:
            for gateway in gateways:
                await gateway.close()
        await self._judge_connections()
        logs = [gateway.process.log for gateway in self._parts.gateways]
        judge_logs(verdicts, logs, self._parts.postgres.log)
        print(verdicts.table(f"gateway, seed {self._seed}"), flush=True)
        return verdicts.violations

    async def _create_runs(self) -> list[tuple[str, str, dict[str, str]]]:
        """Create runs, each with a file; return tenant, run and file."""
        stack = self._parts.stack
        created: list[tuple[str, str, dict[str, str]]] = []
        for tenant_id in TENANTS:
            database = await stack.database(stack.databases[tenant_id])
            for _ in range(RUNS_PER_TENANT):
                run_id = str(uuid.uuid4())
                await database.execute(
                    """
                    INSERT INTO runs (id, status, pipeline, pipeline_version, user_id, request_id,
                                      request_digest)
                    VALUES ($1::text::uuid, 'running', 'article', 1, 'ada', $1, '')
                    """,
                    run_id,
                )
                files = RunFiles(stack, tenant_id, run_id)
                written = await files.write(FILE.encode())
                await files.close()
                created.append(
                    (tenant_id, run_id, {"path": written.path, "digest": written.digest})
                )
            await database.close()
        return created

    def _harms(self) -> dict[str, tuple[int, Harm]]:
        parts = self._parts
        postgres, gateways = parts.postgres, parts.gateways

        async def kill_gateway(chance: random.Random) -> None:
            await chance.choice(gateways).kill()

        async def freeze_gateway(chance: random.Random) -> None:
            await chance.choice(gateways).freeze(LEASE_SECONDS * chance.uniform(0.5, 2.5))

        async def kill_postmaster(_: random.Random) -> None:
            await postgres.kill()
            await postgres.start()

        url = postgres.server.superuser_url()
        todo: dict[str, Harm] = {
            "gateways killed": kill_gateway,
            "gateways frozen": freeze_gateway,
            "backends": partial(terminate_backends, url, "%llm_gateway%"),
            "postmasters killed": kill_postmaster,
        }
        return {
            name: (max(1, round(_HARMS[name] * self._count / CALLS)), harm)
            for name, harm in todo.items()
        }

    async def _ask_all(self, callers: Callers, asked: list[Question], chaos: Chaos) -> None:
        async def report() -> None:
            while True:
                await asyncio.sleep(5)
                print(
                    f"  {time.monotonic() - self._began:4.0f} s  {callers.received.done:,} of "
                    f"{len(asked):,} keys  {dict(chaos.done)}",
                    flush=True,
                )

        reporter = asyncio.create_task(report())
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(callers.ask_all(asked))
                tasks.create_task(chaos.run(lambda: callers.received.done / len(asked)))
        finally:
            reporter.cancel()

    async def _ask_again(self, callers: Callers, asked: list[Question]) -> Received:
        """Ask some keys again, each at the other gateway, and return what is received."""
        again = Received()
        for number in range(0, len(asked), _ASKED_AGAIN):
            question = asked[number]
            await callers.ask(question, question.spec.key.item + 1, again)
        return again

    async def _wait_until_closed(self) -> None:
        """Wait until leases of dead processes have expired and their calls are collected."""
        until = time.monotonic() + _CLOSING_SECONDS
        while time.monotonic() < until:
            left = [
                await self._fetch(
                    tenant_id, "SELECT id FROM llm_calls WHERE lease_owner IS NOT NULL"
                )
                for tenant_id in TENANTS
            ]
            if not any(left):
                return
            await asyncio.sleep(0.5)  # the collector tells nobody

    async def _judge(
        self,
        callers: Callers,
        asked: list[Question],
        again: Received,
        gateways: list[GatewayCaller],
    ) -> None:
        verdicts, received = self._verdicts, callers.received
        sent = read_provider_log(self._parts.provider.requests)
        calls: dict[str, call_pb2.Call] = {}
        for tenant_id in TENANTS:
            service, credentials = gateways[0].calls, gateways[0].credentials(tenant_id)
            found = await read_ledger(service, tenant_id, credentials)
            await judge_sums(verdicts, found, service, tenant_id, credentials)
            settled = Counter(
                name for name, each in found.items() if each.state == call_pb2.CALL_STATE_SETTLED
            )
            await self._judge_database(tenant_id, settled)
            calls |= found
        for refusal, times in sorted(received.refusals.items()):
            verdicts.note(f"refused meanwhile: {refusal}", f"{times:,}")
        verdicts.some(f"calls without an answer for {CALL_SECONDS:.0f} s", received.silent)
        internal = ("INTERNAL", "UNKNOWN", "DATA_LOSS", "INVALID_ARGUMENT", "NOT_FOUND")
        verdicts.none(
            "refusals that say nothing of what happened",
            [each for each in received.refusals if each.startswith(internal)],
        )
        verdicts.none("keys without a final answer", received.unanswered + again.unanswered)
        verdicts.none("pieces of streams that do not follow each other", received.gaps + again.gaps)
        judge_payments(verdicts, calls, sent, {each.name for each in asked if each.redone})
        management = await asyncpg.connect(
            self._parts.postgres.server.superuser_url(self._parts.stack.management_name)
        )
        await judge_costs(verdicts, calls, management)
        await management.close()
        judge_prompts(verdicts, asked, sent)
        judge_answers(verdicts, received, calls)
        judge_asked_again(verdicts, again, calls)
        replies = await read_replies(gateways[1], received)
        judge_replies(verdicts, received, sent, replies)

    async def _judge_database(self, tenant_id: str, settled: Counter[str]) -> None:
        stack, verdicts = self._parts.stack, self._verdicts
        database = await stack.database(stack.databases[tenant_id])
        await audit_chain.judge(verdicts, tenant_id, database, settled)
        await database.close()
        for name, query in _QUERIES.items():
            verdicts.none(f"{tenant_id}: {name}", await self._fetch(tenant_id, query))

    async def _judge_connections(self) -> None:
        """Stop the gateways in order; nothing of theirs may stay."""
        for gateway in self._parts.gateways:
            await asyncio.to_thread(gateway.process.stop)
        query = """
            SELECT datname, usename, state FROM pg_stat_activity WHERE usename LIKE '%llm_gateway%'
        """
        left: list[object] = []
        for _ in range(50):
            left = await self._fetch(TENANTS[0], query)
            if not left:
                break
            await asyncio.sleep(0.1)  # a backend notices its client's end by itself
        self._verdicts.none("connections left after the gateways have ended", left)

    async def _fetch(self, tenant_id: str, query: str) -> list[object]:
        stack = self._parts.stack
        database = await stack.database(stack.databases[tenant_id])
        try:
            return [tuple(row) for row in await database.fetch(query)]
        finally:
            await database.close()
