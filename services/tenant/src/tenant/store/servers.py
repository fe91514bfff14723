"""The table `db_servers`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import paging
from tenant.config import ProvisionerAddress
from tenant.domain.servers import Server, ServerCheck, ServerState

if TYPE_CHECKING:
    from collections.abc import Mapping

    import asyncpg

    from dataplane.pools import Connection
    from tenant.domain.encryption import KeyRing
    from tenant.domain.servers import ServerFacts, ServerSettings

# The tenants of each server, and those that an operation is bringing there.
_PLACES = """
    SELECT place.server_id, count(*) FILTER (WHERE place.there) AS tenants, count(*) AS taken
      FROM (SELECT server_id, true AS there FROM tenants
            UNION ALL
            SELECT operation.arguments ->> 'server_id', false
              FROM operations AS operation
              JOIN tenants AS tenant ON tenant.id = operation.tenant_id
             WHERE operation.kind IN ('move_tenant', 'restore_backup')
               AND operation.state IN ('running', 'failed')
               AND operation.arguments ->> 'server_id' <> tenant.server_id) AS place
     GROUP BY place.server_id
"""
# The server with the most free places; where no limit is set, 2,000 count as its size.
_CHOICE = f"""
    SELECT s.id
      FROM db_servers AS s
      LEFT JOIN ({_PLACES}) AS held ON held.server_id = s.id
     WHERE s.state = 'active'
       AND s.labels || jsonb_build_object('server', s.id) @> $1::jsonb
       AND (s.max_tenants = 0 OR coalesce(held.taken, 0) < s.max_tenants)
     ORDER BY coalesce(nullif(s.max_tenants, 0), 2000) - coalesce(held.taken, 0) DESC, s.id
     LIMIT 1
"""
_SERVERS = f"""
    SELECT s.id, s.host, s.port, s.state, s.labels, s.max_tenants, s.connection_budget, s.version,
           s.checks, s.created_at, s.updated_at, coalesce(held.tenants, 0) AS tenant_count,
           coalesce(held.taken, 0) AS places_taken
      FROM db_servers AS s
      LEFT JOIN ({_PLACES}) AS held ON held.server_id = s.id
"""


async def register_main(
    connection: Connection, server_id: str, host: str, port: int, found: ServerFacts
) -> None:
    """Record the address of the management database's server, and what it is; no checks."""
    await connection.execute(
        """
        INSERT INTO db_servers AS s (id, host, port, system_identifier, version)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (id) DO UPDATE
           SET host = $2, port = $3, system_identifier = $4, version = $5, updated_at = now()
         WHERE (s.host, s.port, s.system_identifier, s.version) <> ($2, $3, $4, $5)
        """,
        server_id,
        host,
        port,
        found.system_identifier,
        found.version,
    )


async def set_address(
    connection: Connection, key_ring: KeyRing, server_id: str, address: ProvisionerAddress
) -> None:
    """Insert a server, or replace how the provisioner logs in to it."""
    await connection.execute(
        """
        INSERT INTO db_servers AS s (id, host, port, provisioner_url) VALUES ($1, $2, $3, $4)
        ON CONFLICT (id) DO UPDATE
           SET host = $2, port = $3, provisioner_url = $4, generation = s.generation + 1,
               updated_at = now()
        """,
        server_id,
        address.host,
        address.port,
        key_ring.encrypt(address.url, *_place(server_id)),
    )


async def describe(
    connection: Connection, server_id: str, wanted: ServerSettings, found: ServerFacts
) -> None:
    """Replace what an operator says of a server, and what was found there."""
    await connection.execute(
        """
        UPDATE db_servers
           SET labels = $2, max_tenants = $3, connection_budget = $4, version = $5,
               system_identifier = $6, checks = $7, updated_at = now()
         WHERE id = $1
        """,
        server_id,
        json.dumps(dict(wanted.labels)),
        wanted.max_tenants,
        wanted.connection_budget,
        found.version,
        found.system_identifier,
        json.dumps([[c.name, c.passed, c.consequence, c.remedy] for c in found.checks]),
    )


async def set_state(connection: Connection, server_id: str, state: ServerState) -> bool:
    """Update a server's state; False if it is in that state already, or not registered.

    One that is lost is not drained.
    """
    updated = await connection.fetchval(
        """
        UPDATE db_servers SET state = $2, updated_at = now()
         WHERE id = $1 AND state <> $2 AND (state, $2) <> ('lost', 'draining')
        RETURNING true
        """,
        server_id,
        state.value,
    )
    return updated is not None


async def delete(connection: Connection, server_id: str) -> None:
    """Delete a server that no tenant is on."""
    await connection.execute("DELETE FROM db_servers WHERE id = $1", server_id)


async def find(connection: Connection, server_id: str) -> Server | None:
    row = await connection.fetchrow(f"{_SERVERS} WHERE s.id = $1", server_id)
    return None if row is None else _server(row)


async def page(connection: Connection, size: int, token: str) -> paging.Page[Server]:
    """Return one page of servers, sorted by id."""
    limit = size or paging.DEFAULT_SIZE
    rows = await connection.fetch(
        f"{_SERVERS} WHERE s.id > $1 ORDER BY s.id LIMIT $2",
        paging.decode(token, str) or "",
        limit + 1,
    )
    return paging.page(rows, limit, _server, "id")


async def same_cluster(
    connection: Connection, server_id: str, system_identifier: str
) -> str | None:
    """Return the id of another registered server that is the same cluster, if there is one."""
    return await connection.fetchval(
        "SELECT id FROM db_servers WHERE system_identifier = $2 AND id <> $1 LIMIT 1",
        server_id,
        system_identifier,
    )


async def system_identifier(connection: Connection, server_id: str) -> str:
    """Return which cluster a server was when it was registered; empty if that is not known."""
    sql = "SELECT system_identifier FROM db_servers WHERE id = $1"
    return await connection.fetchval(sql, server_id) or ""


async def choose(connection: Connection, labels: Mapping[str, str]) -> str | None:
    """Return the active server with these labels that has the most free places, if there is one.

    Each server has a label `server`, which is its id. Until the transaction ends no other one
    places a tenant.
    """
    await lock_placement(connection)
    return await connection.fetchval(_CHOICE, json.dumps(dict(labels)))


async def lock_placement(connection: Connection) -> None:
    """Let no other transaction place a tenant: two would take the same last place of a server."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('placement', 0))")


async def endpoint(connection: Connection, server_id: str) -> tuple[str, int, int]:
    """Return where clients connect to a server, and its connection budget. Raises LookupError."""
    row = await connection.fetchrow(
        "SELECT host, port, connection_budget FROM db_servers WHERE id = $1", server_id
    )
    if row is None:
        raise LookupError(f"no database server {server_id} is registered")
    return row["host"], row["port"], row["connection_budget"]


async def host_and_port(connection: Connection, server_id: str) -> tuple[str, int]:
    """Return where clients connect to a server. Raises LookupError."""
    host, port, _ = await endpoint(connection, server_id)
    return host, port


async def generation(connection: Connection, server_id: str) -> tuple[int, ServerState] | None:
    """Return what counts up when a server's address changes, and the server's state.

    None if there is no such server.
    """
    row = await connection.fetchrow(
        "SELECT generation, state FROM db_servers WHERE id = $1", server_id
    )
    return None if row is None else (row["generation"], ServerState(row["state"]))


async def address(
    connection: Connection, key_ring: KeyRing, server_id: str
) -> tuple[int, ProvisionerAddress]:
    """Return a server's generation and how the provisioner logs in to it."""
    row = await connection.fetchrow(
        "SELECT generation, provisioner_url FROM db_servers WHERE id = $1", server_id
    )
    if row is None:
        raise LookupError(f"no database server {server_id} is registered")
    url = key_ring.decrypt(row["provisioner_url"], *_place(server_id))
    return row["generation"], ProvisionerAddress.parse(url)


async def all_ids(connection: Connection) -> list[str]:
    """Return the ids of all servers, sorted."""
    return [row["id"] for row in await connection.fetch("SELECT id FROM db_servers ORDER BY id")]


def _place(server_id: str) -> tuple[str, str]:
    return ("db_servers.provisioner_url", server_id)


def _server(row: asyncpg.Record) -> Server:
    return Server(
        server_id=row["id"],
        host=row["host"],
        port=row["port"],
        state=ServerState(row["state"]),
        labels=json.loads(row["labels"]),
        max_tenants=row["max_tenants"],
        connection_budget=row["connection_budget"],
        version=row["version"],
        checks=tuple(
            ServerCheck(name, consequence, remedy)
            for name, _, consequence, remedy in json.loads(row["checks"])
        ),
        tenant_count=row["tenant_count"],
        places_taken=row["places_taken"],
        create_time=row["created_at"],
        update_time=row["updated_at"],
    )
