"""Rows in every table of a tenant's database, and what they are compared by."""

from __future__ import annotations

import hashlib
import json
import random
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from dataplane.migrations import read_migrations
from tenant.domain.migrations import Migration, MigrationTarget

if TYPE_CHECKING:
    import asyncpg

    from tenant.composition import Composition

_SERVICES = Path(__file__).parents[2] / "services"
_ODD = ("plain", "tab\tnewline\nreturn\r", "back\\slash \\N \\.", "日本語 😀", "", "quote ' \" ;--")


async def publish_services(service: Composition) -> None:
    """Publish the migrations of the other services, as they do themselves."""
    for name in ("runs", "artifacts", "llm-gateway"):
        await service.schema.publish(name, own_migrations(name))


def own_migrations(service: str) -> list[Migration]:
    """Return the migrations of a service."""
    return [
        Migration.parse(service, MigrationTarget(m.target), m.number, m.name, m.requires, m.sql)
        for m in read_migrations(_SERVICES / service / "migrations")
    ]


def _text() -> str:
    return f"{secrets.choice(_ODD)} {secrets.token_hex(6)}"


def _json() -> str:
    return json.dumps(
        {"text": _text(), "number": secrets.randbelow(1 << 40), "list": [1.5, None, _text()]}
    )


async def fill(
    connection: asyncpg.Connection[asyncpg.Record],
    tenant_id: str,
    *,
    runs: int = 3,
    prefix: str = "",
) -> dict[str, bytes]:
    """Put rows into every table, as a superuser; return the bytes of the artifacts, by key.

    Every run has ended.
    """
    prefix = prefix or f"storage/{tenant_id}"
    files: dict[str, bytes] = {}
    for number in range(runs):
        run = uuid4()
        await _run(connection, run, number)
        await _step(connection, run, prefix, files)
        await _calls(connection, run)
        await _around(connection, run)
    await _definitions(connection)
    for number in range(runs):
        await connection.execute(
            "SELECT audit_append($1, 'run.create', 'run', $2, $3)", _text(), str(number), _json()
        )
    await connection.execute("SELECT audit_chain(2)")  # the others are left unchained
    return files


async def _run(connection: asyncpg.Connection[asyncpg.Record], run: UUID, number: int) -> None:
    await connection.execute(
        """
        INSERT INTO runs (id, status, config, pipeline, pipeline_version, user_id, request_id,
                          request_digest, error, input_metrics, ended_at)
        VALUES ($1, $2, $3, 'article', 1, $4, $5, '', $3, '{"characters": 2}', clock_timestamp())
        """,
        run, ("completed", "failed", "cancelled")[number % 3], _json(), _text(), str(run),
    )  # fmt: skip
    for seq in range(1, 4):
        await connection.execute(
            "INSERT INTO run_events (run_id, seq, kind, payload) VALUES ($1, $2, 'run', $3)",
            run, seq, _json(),
        )  # fmt: skip
    await connection.execute(
        "INSERT INTO usage_checks (run_id, due_at) VALUES ($1, now() + interval '1 day')", run
    )


async def _around(connection: asyncpg.Connection[asyncpg.Record], run: UUID) -> None:
    """Put rows into the tables around a run; nothing is due, so no service acts on them."""
    await connection.execute(
        """
        INSERT INTO run_labels (name, value, run_created_at, run_id)
        SELECT 'team', $2, created_at, id FROM runs WHERE id = $1
        """,
        run, _text(),
    )  # fmt: skip
    await connection.execute(
        """
        INSERT INTO approvals (approval_id, run_id, step, visit, attempt, state, question,
                               subjects, user_ids, permissions, excludes_creator,
                               comment_required, ended_at)
        VALUES ($1::uuid::text || '/sign-off/1', $1::uuid, 'sign-off', 1, 1, 'closed', $2, '[]',
                ARRAY[$2], '{}', false, true, now())
        """,
        run, _text(),
    )  # fmt: skip
    await connection.execute(
        """
        WITH schedule AS (
            INSERT INTO schedules (schedule_id, tenant_id, name, pipeline, pipeline_version, cron,
                                   every_seconds, time_zone, time_member, overlap,
                                   catch_up_seconds, config, digest, paused,
                                   applied_generation, user_id, request_id, request_digest)
            VALUES ($1::uuid, 'acme', $1::uuid::text, 'article', 1, '', 3600, '', '', 'skip',
                    60, $2, '', true, 1, $3, $1::uuid::text, '')
        )
        SELECT
        """,
        run, _json(), _text(),
    )  # fmt: skip
    await connection.execute(
        """
        INSERT INTO schedule_backfills (schedule_id, start_time, end_time, request_id, delivered)
        VALUES ($1::uuid, now(), now(), $1::uuid::text, true)
        """,
        run,
    )
    await connection.execute(
        """
        WITH endpoint AS (
            INSERT INTO webhook_endpoints (endpoint_id, tenant_id, name, url, event_types,
                                           pipelines, state, user_id, request_id, request_digest)
            VALUES ($1::uuid, 'acme', $1::uuid::text, 'https://hooks.invalid/', '{}', ARRAY[$2],
                    'disabled', $2, $1::uuid::text, '')
        )
        INSERT INTO webhook_deliveries (endpoint_id, run_id, state, next_seq, delivered_at)
        VALUES ($1::uuid, $1::uuid, 'delivered', 4, now())
        """,
        run, _text(),
    )  # fmt: skip


async def _step(
    connection: asyncpg.Connection[asyncpg.Record],
    run: UUID,
    prefix: str,
    files: dict[str, bytes],
) -> None:
    step_id = await connection.fetchval(
        """
        INSERT INTO steps (run_id, step, status, token_usage, error_message, output_path, summary)
        VALUES ($1, 'draft', 'completed', $2, $3, $4, $5)
        RETURNING id
        """,
        run, _json(), _text(), f"{prefix}/{run}/draft/output.json", _text(),
    )  # fmt: skip
    await connection.execute(
        """
        INSERT INTO step_attempts (step_id, epoch, attempt, status) VALUES ($1, 1, 1, 'completed')
        """,
        step_id,
    )
    paths: list[str] = []
    for name in ("output.json", "artifacts/a.md", "artifacts/big.bin"):
        body = secrets.token_bytes(random.choice((0, 10, 5_000)))  # noqa: S311
        if name.endswith("bin"):
            body = secrets.token_bytes(3 << 20)
        key = f"{run}/draft/{name}"
        files[key] = body
        paths.append(f"{prefix}/{key}")
        artifact_id = await connection.fetchval(
            """
            INSERT INTO artifacts (run_id, step, file_type, file_path, digest, metadata, name,
                                   size_bytes, summary, metrics)
            VALUES ($1, 'draft', 'text/plain', $2, $3, $4, $5, $6, $7, '{}')
            RETURNING id
            """,
            run, paths[-1], hashlib.sha256(body).hexdigest(), _json(), name, len(body), _text(),
        )  # fmt: skip
        if len(body) > 1 << 20:
            chunks = [body[at : at + (1 << 20)] for at in range(0, len(body), 1 << 20)]
            await connection.execute(
                "INSERT INTO artifact_chunks (artifact_id, digests) VALUES ($1, $2)",
                artifact_id, b"".join(hashlib.sha256(chunk).digest() for chunk in chunks),
            )  # fmt: skip
    await connection.execute(
        "INSERT INTO lineage VALUES ($1, $2, $3, '/sections/3')", paths[1], paths[0], "a" * 64
    )
    await connection.execute(
        """
        INSERT INTO uploads (run_id, step, name, file_path, item, visit, file_type, digest,
                             size_bytes, summary, metrics, metadata, expires_at)
        VALUES ($1, 'input', 'output.json', $2, 0, 1, 'application/json', $3, 5, '', '{}', $4,
                now() + interval '1 hour')
        """,
        run, f"{prefix}/{run}/input/output.json", "b" * 64, _json(),
    )  # fmt: skip


async def _calls(connection: asyncpg.Connection[asyncpg.Record], run: UUID) -> None:
    call = await connection.fetchval(
        """
        INSERT INTO llm_calls (run_id, step, item, visit, call, request_digest, state, provider_id,
                               model_id, model_name, model_class, rule, price_id, catalog_version,
                               finish_reason, output_digest, summary, user_id, ended_at)
        VALUES ($1, 'draft', 0, 1, 1, $2, 'settled', 'claude', 'm', 'm', 'standard', 'step_default',
                'p', 1, 'stop', $2, $3, $4, now())
        RETURNING id
        """,
        run, secrets.token_hex(32), _text(), _text(),
    )  # fmt: skip
    await connection.execute(
        """
        INSERT INTO llm_call_attempts (call_id, attempt, state, provider_id, model_id, price_id,
                                       estimated, error, refusal)
        VALUES ($1, 1, 'settled', 'claude', 'm', 'p', false, $2, $3)
        """,
        call, _text(), _json(),
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO llm_call_replies (call_id, attempt, body) VALUES ($1, 1, $2)",
        call, secrets.token_bytes(2000),
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO step_overrides (step, provider_id, model_class) VALUES ($1, 'claude', 'pro')",
        f"step-{run}",
    )


async def _definitions(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    name = f"article-{secrets.token_hex(4)}"
    for version in (1, 2, 3):
        await connection.execute(
            """
            INSERT INTO pipelines (pipeline, version, spec, digest, plan, plan_size_bytes, prompts,
                                   request_id)
            VALUES ($1, $2, $3, '', '[]', 2, '{}', $4)
            """,
            name, version, _json(), secrets.token_hex(8),
        )  # fmt: skip
        await connection.execute(
            """
            INSERT INTO prompts (step, version, content, variables, is_active, digest, request_id)
            VALUES ($1, $2, $3, '["topic"]', $4, '', $5)
            """,
            name, version, _text(), version == 3, secrets.token_hex(8),
        )  # fmt: skip
    await connection.execute(
        "INSERT INTO prompt_labels (prompt, label, version) VALUES ($1, 'canary', 2)", name
    )


@dataclass(frozen=True, slots=True)
class Content:
    """What is in a database, as it is compared: computed by statements of the test's own."""

    tables: dict[str, tuple[int, str]]
    """Rows, and a digest of them as text, in the order of that text."""
    sequences: dict[str, tuple[int, bool]]


async def content(
    connection: asyncpg.Connection[asyncpg.Record], *, without: tuple[str, ...] = ()
) -> Content:
    """Read the content of a database as a superuser."""
    await connection.execute("SET timezone = 'UTC'; SET extra_float_digits = 3")
    found: dict[str, tuple[int, str]] = {}
    names = await connection.fetch(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
    )
    for (name,) in names:
        if name not in without:
            row = await connection.fetchrow(
                f"""
                SELECT count(*),
                       encode(sha256(convert_to(coalesce(string_agg(
                           r::text, E'\\n' ORDER BY r::text COLLATE "C"), ''), 'UTF8')), 'hex')
                  FROM public."{name}" AS r
                """
            )
            assert row is not None
            found[name] = (row[0], row[1])
    states: dict[str, tuple[int, bool]] = {}
    for (name,) in await connection.fetch(
        "SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' ORDER BY 1"
    ):
        state = await connection.fetchrow(f'SELECT last_value, is_called FROM public."{name}"')
        assert state is not None
        states[name] = (state[0], state[1])
    return Content(found, states)
