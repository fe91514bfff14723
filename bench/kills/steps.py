"""What is found of runs after a kill run: rows, events, files, and what functions recorded."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from bench.kills.pipelines import FOLLOWS

if TYPE_CHECKING:
    from pathlib import Path

    import asyncpg

    from bench.kills.verdicts import Verdicts

    Database: TypeAlias = asyncpg.Connection[asyncpg.Record]

Piece: TypeAlias = tuple[str, str, int, int]
"""A piece of work: run, step, item, visit."""
_TOKEN = re.compile(rb'"token": ?"([0-9a-f]{16})"')
_COLLECTOR_SECONDS = 240.0
_WAKING_SECONDS = 3.0
_QUERIES = {
    "runs that did not complete": "SELECT id, status, error FROM runs WHERE status <> 'completed'",
    "steps that did not complete": """
        SELECT run_id, step, item, status, error FROM steps WHERE status <> 'completed'
    """,
    "attempts left running": """
        SELECT run_id, step, item, step_attempts.attempt
          FROM step_attempts JOIN steps ON id = step_id WHERE step_attempts.status = 'running'
    """,
    "steps with another number of completed attempts than one": """
        SELECT run_id, step, item, count(step_id) FROM steps
          LEFT JOIN step_attempts ON id = step_id AND step_attempts.status = 'completed'
         GROUP BY id HAVING count(step_id) <> 1
    """,
    "runs whose events are not 1 to n": """
        SELECT runs.id, last_seq, count(seq), min(seq), max(seq)
          FROM runs LEFT JOIN run_events ON run_id = runs.id
         GROUP BY runs.id
        HAVING (count(seq), min(seq), max(seq)) IS DISTINCT FROM (last_seq, 1, last_seq)
    """,
    "steps told as completed by another number of events than one": """
        SELECT steps.run_id, steps.step, item, count(seq) FROM steps
          LEFT JOIN run_events ON run_events.run_id = steps.run_id
           AND kind = 'step' AND payload->>'step' = steps.step
           AND coalesce((payload->>'item')::int, 0) = item AND payload->>'status' = 'completed'
         GROUP BY steps.id HAVING count(seq) <> 1
    """,
    "runs that count other steps than they have": """
        SELECT runs.id, completed_steps, count(steps.id)
          FROM runs LEFT JOIN steps ON run_id = runs.id
         GROUP BY runs.id HAVING completed_steps <> count(steps.id)
    """,
    "outputs that are no file of that digest": """
        SELECT steps.run_id, steps.step, steps.item, output_path FROM steps
          LEFT JOIN artifacts ON file_path = output_path AND artifacts.digest = output_digest
         WHERE file_path IS NULL
    """,
    "messages left in the outbox": "SELECT run_id, kind FROM outbox",
}


@dataclass(frozen=True, slots=True)
class Execution:
    """One time that a function was called, as it recorded it itself."""

    piece: Piece
    token: str
    began: float
    worker: int
    read: dict[str, str]
    """What it read of each step before, once it has ended."""


def read_executions(log: Path) -> list[Execution]:
    """Return every execution of a function, in the order in which they began."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    read = {line["token"]: line["read"] for line in lines if line["word"] == "ended"}
    return [
        Execution(
            (line["run_id"], line["step"], line["item"], line["visit"]),
            line["token"],
            line["time"],
            line["worker"],
            read.get(line["token"], {}),
        )
        for line in lines
        if line["word"] == "began"
    ]


async def judge_rows(verdicts: Verdicts, database: Database) -> None:
    """Judge the tables of the runs by each other."""
    for name, query in _QUERIES.items():
        verdicts.none(name, [tuple(row) for row in await database.fetch(query)])


async def judge_files(
    verdicts: Verdicts, database: Database, objects: Path, tenant_id: str
) -> None:
    """Judge every file by its row, and every object by the rows there are.

    Files that a killed process has committed and not put are first waited for.
    """
    await _judge_bodies(verdicts, database)
    rows = await database.fetch("SELECT file_path, digest FROM artifacts")
    other: list[str] = []
    for path, digest in rows:
        data = await asyncio.to_thread(_bytes, objects / path)
        if data is None or hashlib.sha256(data).hexdigest() != digest:
            other.append(path)
    writes = await database.fetch("SELECT file_path FROM artifact_writes")
    known = {row["file_path"] for row in (*rows, *writes)}
    folder = objects / "storage" / tenant_id
    stored = [p for p in folder.rglob("*") if p.is_file() and ".rclone_temp_" not in str(p)]
    verdicts.note("files", f"{len(rows):,}")
    verdicts.none("files whose bytes are not those of their digest", other)
    verdicts.none(
        "objects that no row knows of",
        [path for path in stored if str(path.relative_to(objects)) not in known],
    )


async def _judge_bodies(verdicts: Verdicts, database: Database) -> None:
    """Wait until the collector has put what is committed, and judge that it has."""
    query = "SELECT file_path FROM artifact_bodies"
    left = await database.fetch(query)
    verdicts.note("files committed whose bytes are still to be put", len(left))
    until = time.monotonic() + _COLLECTOR_SECONDS
    while left and time.monotonic() < until:
        await asyncio.sleep(1)  # the collector tells nobody
        left = await database.fetch(query)
    name = f"files that are not put within {_COLLECTOR_SECONDS:.0f} s"
    verdicts.none(name, [row["file_path"] for row in left])


async def judge_executions(
    verdicts: Verdicts,
    database: Database,
    objects: Path,
    executions: list[Execution],
    woke: dict[int, float],
) -> None:
    """Judge what functions recorded by what the rows say is done.

    A worker that was frozen just before it calls a function calls it when it wakes: nobody can
    know of that call before. These are counted, and no violation.
    """
    rows = await database.fetch(
        """
        SELECT run_id::text, step, item, visit, output_path,
               extract(epoch FROM completed_at)::float8
          FROM steps
        """
    )
    done = {tuple(row)[:4]: row[5] for row in rows if row[5] is not None}
    late = [each for each in executions if each.began > done.get(each.piece, float("inf"))]
    woken = [each for each in late if 0 <= each.began - woke.get(each.worker, 0) < _WAKING_SECONDS]
    verdicts.note("executions of functions", f"{len(executions):,}")
    verdicts.note("  of these again", f"{len(executions) - len({e.piece for e in executions}):,}")
    verdicts.note("  begun by a worker that woke, when all was done", len(woken))
    verdicts.none(
        "functions executed after they were recorded as done",
        [each for each in late if each not in woken],
    )
    await _judge_chains(verdicts, rows, objects, executions)


async def _judge_chains(
    verdicts: Verdicts, rows: list[Any], objects: Path, executions: list[Execution]
) -> None:
    """Judge that what is committed was made from what is committed."""
    by_token = {each.token: each for each in executions}
    marks: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for run_id, step, item, _, path, _ in rows:
        if item == 0 and path is not None:
            marks[run_id][step] = _mark(await asyncio.to_thread(_bytes, objects / path))
    nobody: list[str] = []
    mixed: list[str] = []
    for run_id, of_run in marks.items():
        for step, mark in of_run.items():
            if not step.startswith("do-"):
                continue
            execution = by_token.get(mark)
            if execution is None or execution.piece[:2] != (run_id, step):
                nobody.append(f"{run_id}/{step}")
            elif any(of_run.get(b, read) != read for b, read in execution.read.items()):
                mixed.append(f"{run_id}/{step}")
            elif (before := FOLLOWS.get(step)) and before not in execution.read:
                mixed.append(f"{run_id}/{step} did not read {before}")
    verdicts.none("outputs that no execution of their step made", nobody)
    verdicts.none("outputs made of an output that is not the committed one", mixed)


def _mark(data: bytes | None) -> str:
    """Return what tells an output from another, as the function `counted` does."""
    found = _TOKEN.search(data or b"")
    return found.group(1).decode() if found else str(json.loads(data or b"null"))[:200]


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
