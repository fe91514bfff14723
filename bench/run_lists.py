"""Lists of 100,000 runs by what few of them are, beside the first page of all, in turn."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg

from bench import part
from bench.goals import Goals, ratio, spread
from bench.stack import SERVICES, create_tenant, our_stack
from nagaya.runs.v1 import run_pb2, run_service_pb2
from nagaya.tenant.v1 import tenant_service_pb2
from nagaya_local.parts.postgres import PostgresServer

if TYPE_CHECKING:
    from bench.stack import Stack
    from nagaya_client.client import Client

PARTS = ("postgres", "s3", "temporal", *SERVICES)
_TENANT = "lists"
_RUNS = 100_000
_ROUNDS = 30
_GOAL = 10.0
"""At most so many times as long as the first page of all runs; a look at every run takes more than
a hundred times as long.
"""

# Every 5,000th run has failed, has a label of its own, or has cost a dollar.
_FILL = """
    INSERT INTO runs (status, pipeline, pipeline_version, user_id, request_id, request_digest,
                      created_at, cost_micro_usd, labels, config)
    SELECT CASE WHEN n % 5000 = 0 THEN 'failed' ELSE 'completed' END, 'article', 1, 'ada',
           'bench-' || n, repeat('a', 64), now() - n * interval '1 second',
           CASE WHEN n % 5000 = 1 THEN 1000000 ELSE n % 5000 END,
           jsonb_build_object(
               'env', 'prod', 'batch', CASE WHEN n % 5000 = 2 THEN 'b1' ELSE 'b2' END),
           jsonb_build_object('input', repeat('abc', 200))
      FROM generate_series($1::int, 1, -1) AS n
"""
_FILL_LABELS = """
    INSERT INTO run_labels (name, value, run_created_at, run_id)
    SELECT key, value, created_at, id FROM runs, jsonb_each_text(labels)
"""
_FILTERS = {
    "that failed": run_pb2.RunFilter(states=[run_pb2.RUN_STATE_FAILED]),
    "with a label that few have": run_pb2.RunFilter(labels={"batch": "b1"}),
    "with a label that all have": run_pb2.RunFilter(labels={"env": "prod"}),
    "with two labels": run_pb2.RunFilter(labels={"env": "prod", "batch": "b1"}),
    "that cost a dollar": run_pb2.RunFilter(min_cost_micro_usd=1_000_000),
    "with a label that none has": run_pb2.RunFilter(labels={"batch": "b3"}),
}


async def main() -> int:
    goals = Goals()
    async with our_stack(PARTS) as stack, stack.client() as client:
        await create_tenant(client, _TENANT)
        await _fill(stack, client)
        for name, wanted in _FILTERS.items():
            ours: list[float] = []
            all_: list[float] = []
            for number in range(_ROUNDS + 1):
                pair = (await _seconds(client, run_pb2.RunFilter()), await _seconds(client, wanted))
                if number:  # the first one warmed up
                    all_.append(1000 * pair[0])
                    ours.append(1000 * pair[1])
            own, baseline = spread(ours, "ms", 2), f"all: {spread(all_, 'ms', 2)}"
            goals.at_most(f"runs {name}", ratio(ours, all_), _GOAL, own, baseline)
    return goals.exit_code


async def _fill(stack: Stack, client: Client) -> None:
    request = tenant_service_pb2.GetTenantRequest(tenant_id=_TENANT)
    database = (await client.tenants.GetTenant(request)).tenant.database
    port = urlsplit(stack.endpoints.pg_url).port or 0
    server = PostgresServer(stack.layout.postgres, port)
    connection = await asyncpg.connect(server.superuser_url(database))
    try:
        await connection.execute(_FILL, _RUNS)
        for sql in (_FILL_LABELS, "VACUUM ANALYZE runs", "VACUUM ANALYZE run_labels"):
            await connection.execute(sql)
    finally:
        await connection.close()


async def _seconds(client: Client, wanted: run_pb2.RunFilter) -> float:
    request = run_service_pb2.ListRunsRequest(tenant_id=_TENANT, filter=wanted)
    began = time.perf_counter()
    await client.runs.ListRuns(request)
    return time.perf_counter() - began


if __name__ == "__main__":
    part.run(main)
