from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from dataplane import audit
from dataplane.tenants import connect_data_plane
from servicekit.call import acting_as
from servicekit.errors import TokenMissing
from servicekit.identity import Principal

if TYPE_CHECKING:
    from tests.integration.dataplane.registry import Registry

    from dataplane.tenants import DataPlane
    from interceptor.testing import RunningServer

ADA = Principal("ada", None, frozenset({"acme"}), frozenset({"*"}))
LOG = """
CREATE TABLE audit_logs (user_id text, action text, resource_type text, resource_id text,
                         details jsonb);
CREATE FUNCTION audit_append(text, text, text, text, jsonb) RETURNS void LANGUAGE sql
    SECURITY DEFINER AS 'INSERT INTO audit_logs VALUES ($1, $2, $3, $4, $5)';
GRANT SELECT ON audit_logs TO PUBLIC;
CREATE TABLE passes (at timestamptz DEFAULT now());
CREATE FUNCTION audit_chain(most int, OUT chained int, OUT remaining bigint, OUT oldest timestamptz)
    LANGUAGE sql SECURITY DEFINER AS 'INSERT INTO passes DEFAULT VALUES RETURNING 0, 0, at';
"""


async def test_a_change_is_recorded_with_who_made_it_and_vanishes_with_it(
    data: DataPlane, registry: Registry
) -> None:
    await registry.execute("acme", LOG)
    with acting_as(ADA):
        async with data.tenants.transaction("acme") as connection:
            await audit.append(connection, "note.create", "note", "7", {"words": 3})
        with pytest.raises(ZeroDivisionError):
            await change_in_vain(data)
    with pytest.raises(TokenMissing):
        await change_in_vain(data)

    async with data.tenants.connection("acme") as connection:
        (row,) = await connection.fetch("SELECT * FROM audit_logs")
    assert tuple(row.values())[:4] == ("ada", "note.create", "note", "7")
    assert json.loads(row["details"]) == {"words": 3}


async def test_entries_are_chained_at_the_latest_when_the_service_ends(
    running: RunningServer, registry: Registry
) -> None:
    await registry.execute("acme", LOG)
    async with (
        running.workload_channel("runs") as channel,
        connect_data_plane(channel, "runs") as data,
    ):
        await data.ready()
        with acting_as(ADA):
            async with data.tenants.transaction("acme") as connection:
                await audit.append(connection, "note.create", "note", "7")

    await registry.execute("acme", "SELECT 1 / (SELECT count(*) FROM passes)")


async def change_in_vain(data: DataPlane) -> None:
    async with data.tenants.transaction("acme") as connection:
        await audit.append(connection, "note.delete", "note", "8")
        raise ZeroDivisionError
