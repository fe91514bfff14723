"""Random changes of an audit log, as a superuser makes them, and where each of them begins."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    import asyncpg

    Tampering = Callable[["Log", random.Random], Awaitable[int]]

RECHAIN = """
DO $$
DECLARE entry audit_logs; previous TEXT := repeat('0', 64); last BIGINT := 0;
BEGIN
    FOR entry IN SELECT * FROM audit_logs ORDER BY sequence LOOP
        UPDATE audit_logs SET digest = audit_digest(previous, entry) WHERE id = entry.id
        RETURNING digest, sequence INTO previous, last;
    END LOOP;
    UPDATE audit_head SET digest = previous, sequence = last;
END $$
"""
COLUMNS = ("user_id", "action", "resource_type", "resource_id", "database_role")


class Log:
    """The audit log of a database, in a session of its superuser that no trigger stops."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record], size: int) -> None:
        self.execute = connection.execute
        self.size = size

    async def save(self) -> None:
        await self.execute(
            """
            CREATE TEMP TABLE saved AS SELECT * FROM audit_logs;
            CREATE TEMP TABLE saved_head AS SELECT * FROM audit_head
            """
        )

    async def restore(self) -> None:
        await self.execute(
            """
            TRUNCATE audit_logs;
            INSERT INTO audit_logs OVERRIDING SYSTEM VALUE SELECT * FROM saved;
            TRUNCATE audit_head;
            INSERT INTO audit_head SELECT * FROM saved_head
            """
        )

    async def rechain(self) -> None:
        await self.execute(RECHAIN)


async def change_an_entry(log: Log, chance: random.Random) -> int:
    place = chance.randint(1, log.size)
    column = chance.choice((*COLUMNS, "details", "created_at", "digest"))
    match column:
        case "details":
            value = "'" + json.dumps({"n": chance.random()}) + "'"
        case "created_at":
            value = f"created_at - make_interval(secs => {chance.uniform(0.001, 1e6)})"
        case "digest":
            value = f"'{chance.randbytes(32).hex()}'"
        case _:
            value = f"{column} || '{chance.randbytes(3).hex()}'"
    await log.execute(f"UPDATE audit_logs SET {column} = {value} WHERE sequence = {place}")
    return place


async def change_an_entry_and_chain_anew(log: Log, chance: random.Random) -> int:
    place, column = chance.randint(1, log.size), chance.choice(COLUMNS)
    await log.execute(f"UPDATE audit_logs SET {column} = 'eve' WHERE sequence = {place}")
    await log.rechain()
    return place


async def exchange_two_entries(log: Log, chance: random.Random) -> int:
    first, second = sorted(chance.sample(range(1, log.size + 1), 2))
    await log.execute(
        f"""
        UPDATE audit_logs SET sequence = -sequence WHERE sequence IN ({first}, {second});
        UPDATE audit_logs SET sequence = CASE sequence WHEN {-first} THEN {second} ELSE {first} END
         WHERE sequence < 0
        """
    )
    if chance.random() < 0.5:
        await log.rechain()
    return first


async def remove_an_entry(log: Log, chance: random.Random) -> int:
    place = chance.randint(1, log.size)
    await log.execute(f"DELETE FROM audit_logs WHERE sequence = {place}")
    return place


async def remove_an_entry_and_close_the_gap(log: Log, chance: random.Random) -> int:
    place = chance.randint(1, log.size)
    await log.execute(
        f"""
        DELETE FROM audit_logs WHERE sequence = {place};
        UPDATE audit_logs SET sequence = -sequence WHERE sequence > {place};
        UPDATE audit_logs SET sequence = -sequence - 1 WHERE sequence < 0
        """
    )
    await log.rechain()
    if place == 1 and log.size == 1:
        await log.execute("UPDATE audit_head SET sequence = 0, digest = repeat('0', 64)")
    return place


async def add_an_entry_in_between(log: Log, chance: random.Random) -> int:
    place = chance.randint(1, log.size)
    await log.execute(
        f"""
        UPDATE audit_logs SET sequence = -sequence WHERE sequence >= {place};
        UPDATE audit_logs SET sequence = -sequence + 1 WHERE sequence < 0;
        INSERT INTO audit_logs (user_id, action, resource_type, resource_id, sequence,
                                database_role, digest)
        VALUES ('eve', 'prompt.create', 'prompt', 'forged', {place}, 'eve', repeat('0', 64))
        """
    )
    await log.rechain()
    return place


async def cut_the_tail(log: Log, chance: random.Random) -> int:
    place = chance.randint(1, log.size)
    await log.execute(f"DELETE FROM audit_logs WHERE sequence >= {place}")
    if chance.random() < 0.7:
        await log.execute(
            """
            UPDATE audit_head SET sequence = coalesce((SELECT max(sequence) FROM audit_logs), 0),
                   digest = coalesce((SELECT digest FROM audit_logs
                                       ORDER BY sequence DESC LIMIT 1), repeat('0', 64))
            """
        )
    return place


async def set_the_head(log: Log, chance: random.Random) -> int:
    match chance.randrange(4):
        case 0:
            place = chance.randint(0, log.size - 1)
            await log.execute(f"UPDATE audit_head SET sequence = {place}")
            return place
        case 1:
            await log.execute(f"UPDATE audit_head SET sequence = {log.size + chance.randint(1, 9)}")
            return log.size + 1
        case 2:
            digest = chance.randbytes(32).hex()
            await log.execute(f"UPDATE audit_head SET digest = '{digest}'")
            return log.size
        case _:
            await log.execute("DELETE FROM audit_head")
            return log.size


async def write_all_of_it_anew(log: Log, chance: random.Random) -> int:
    await log.execute("UPDATE audit_logs SET user_id = 'eve', created_at = now()")
    await log.rechain()
    return 1


TAMPERINGS: tuple[Tampering, ...] = (
    change_an_entry,
    change_an_entry_and_chain_anew,
    exchange_two_entries,
    remove_an_entry,
    remove_an_entry_and_close_the_gap,
    add_an_entry_in_between,
    cut_the_tail,
    set_the_head,
    write_all_of_it_anew,
)
