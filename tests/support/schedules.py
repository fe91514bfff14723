"""Schedules of the tenant acme, by calls of the service."""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import ParseDict

from nagaya.runs.v1 import schedule_pb2
from nagaya.runs.v1 import schedule_service_pb2 as pb
from runs.temporal.client import connect
from runs.temporal_config import TemporalConfig

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from datetime import datetime

    import asyncpg
    from temporalio.client import Client
    from tests.support.runs_client import RunsClient

    from nagaya_local.parts.temporal import TemporalServer
ALL = schedule_pb2.SCHEDULE_OVERLAP_ALLOW_ALL


async def connect_to(temporal: TemporalServer) -> Client:
    return await connect(TemporalConfig(temporal.address, "default", "none"), lazy=False)


@asynccontextmanager
async def deleted_afterwards(client: RunsClient, name: str) -> AsyncGenerator[None]:
    """Delete a schedule, so that it creates nothing in the databases of other tests."""
    try:
        yield
    finally:
        request = pb.DeleteScheduleRequest(tenant_id="acme", schedule=name)
        await client.schedules.DeleteSchedule(request)


def spec(**fields: object) -> dict[str, Any]:
    whole = {"pipeline": "article", "inline_json": '{"topic": "cranes"}', **fields}
    return whole if {"cron", "every_seconds"} & whole.keys() else {**whole, "every_seconds": 1}


async def create(
    client: RunsClient, name: str = "nightly", **fields: object
) -> schedule_pb2.Schedule:
    paused, request_id = fields.pop("paused", False), fields.pop("request_id", "")
    request = {
        "tenant_id": "acme",
        "request_id": request_id or secrets.token_hex(8),
        "schedule": name,
        "paused": paused,
        "spec": spec(**fields),
    }
    return (
        await client.schedules.CreateSchedule(ParseDict(request, pb.CreateScheduleRequest()))
    ).schedule


async def get(client: RunsClient, name: str = "nightly") -> schedule_pb2.Schedule:
    request = pb.GetScheduleRequest(tenant_id="acme", schedule=name)
    return (await client.schedules.GetSchedule(request)).schedule


async def times(database: asyncpg.Connection) -> list[datetime]:
    rows = await database.fetch(
        "SELECT schedule_time FROM runs WHERE schedule IS NOT NULL ORDER BY schedule_time"
    )
    return [row["schedule_time"] for row in rows]
