"""The table `pipelines`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import paging
from runs.domain.installed import CodeNeeds
from runs.domain.models import ModelRequirement
from runs.domain.pipelines import PipelineSummary, PipelineVersion
from runs.domain.prompts import PromptRequirement
from runs.wire import pipelines as wire
from runs.wire.models import model_choice_from_document

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from dataplane.pools import Connection
    from runs.domain.drafts import PipelineDraft

_COLUMNS = "pipeline, version, spec, digest, plan_size_bytes, created_at"


async def insert(
    connection: Connection, draft: PipelineDraft, request_id: str
) -> PipelineVersion | None:
    """Insert the pipeline's next version; None if `request_id` has been used before."""
    await lock(connection, draft.pipeline)
    return await _one(
        connection,
        f"""
        INSERT INTO pipelines (pipeline, version, spec, digest, plan, plan_size_bytes, prompts,
                               code_needs, request_id)
        SELECT $1, coalesce(max(version), 0) + 1, $2::jsonb, $3, $4::jsonb, $5, $6::jsonb,
               $7::jsonb, $8
          FROM pipelines
         WHERE pipeline = $1
        ON CONFLICT (request_id) DO NOTHING
        RETURNING {_COLUMNS}
        """,
        draft.pipeline,
        json.dumps(draft.document, ensure_ascii=False),
        draft.digest,
        json.dumps(draft.plan.compact()),
        draft.plan_size_bytes,
        json.dumps(_prompts(draft.spec.prompts())),
        json.dumps(asdict(draft.spec.code_needs())),
        request_id,
    )


async def lock(connection: Connection, pipeline: str) -> None:
    """Wait, in a transaction, until no other one creates versions of a pipeline."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtext($1))", f"pipelines/{pipeline}")


async def find_by_request(connection: Connection, request_id: str) -> PipelineVersion | None:
    sql = f"SELECT {_COLUMNS} FROM pipelines WHERE request_id = $1"
    return await _one(connection, sql, request_id)


async def find(connection: Connection, pipeline: str, version: int) -> PipelineVersion | None:
    """Return a version, or the newest when `version` is 0."""
    return await _one(
        connection,
        f"""
        SELECT {_COLUMNS}
          FROM pipelines
         WHERE pipeline = $1 AND ($2 = 0 OR version = $2)
         ORDER BY version DESC
         LIMIT 1
        """,
        pipeline,
        version,
    )


async def facts(connection: Connection, pipeline: str, version: int) -> PipelineSummary | None:
    """Return what creating a run needs of a version, or of the newest when it is 0."""
    row = await connection.fetchrow(
        """
        SELECT pipeline, version, plan, prompts, CASE WHEN prompts <> '{}' THEN (
                   SELECT jsonb_agg(jsonb_build_object(
                              'step', step -> 'step',
                              'model', step #> '{llm,model}',
                              'max_output_tokens', step #> '{llm,max_output_tokens}',
                              'json_schema', step -> 'llm' ? 'output_schema'
                          ))
                     FROM jsonb_array_elements(spec -> 'steps') AS step
                    WHERE step ? 'llm'
               ) END AS models,
               -- of versions that were created before there was the column
               coalesce(code_needs, jsonb_build_object('functions', (
                   SELECT coalesce(
                              jsonb_object_agg(step ->> 'step', step #> '{function,function}'), '{}'
                          )
                     FROM jsonb_array_elements(spec -> 'steps') AS step
                    WHERE step ? 'function'
               ))) AS code_needs
          FROM pipelines
         WHERE pipeline = $1 AND ($2 = 0 OR version = $2)
         ORDER BY version DESC
         LIMIT 1
        """,
        pipeline,
        version,
    )
    return None if row is None else _facts(row)


async def page(
    connection: Connection, pipeline: str, size: int, token: str
) -> paging.Page[PipelineVersion]:
    """Return one page of versions, by pipeline, newest first; of all pipelines when empty."""
    limit = size or paging.DEFAULT_SIZE
    where, values = paging.where(
        ("pipeline = {}", pipeline or None),
        ("pipeline >= {0} AND (pipeline > {0} OR version < {1})", paging.decode(token, str, int)),
    )
    versions = f"""
        SELECT {_COLUMNS}
          FROM pipelines {where}
         ORDER BY pipeline, version DESC
         LIMIT ${len(values) + 1}
        """
    rows = await connection.fetch(
        paging.within_bytes(
            versions,
            "pipeline, version DESC",
            "octet_length(spec::text)",
            paging.JSON_PAGE_BYTES,
        ),
        *values,
        limit + 1,
    )
    return paging.page_within_bytes(rows, limit, _pipeline_version, "pipeline", "version")


async def _one(connection: Connection, sql: str, *values: object) -> PipelineVersion | None:
    row = await connection.fetchrow(sql, *values)
    return None if row is None else _pipeline_version(row)


def _pipeline_version(row: asyncpg.Record) -> PipelineVersion:
    return PipelineVersion(
        pipeline=row["pipeline"],
        version=row["version"],
        spec=wire.from_document(json.loads(row["spec"])),
        digest=row["digest"],
        plan_size_bytes=row["plan_size_bytes"],
        create_time=row["created_at"],
    )


def _prompts(needs: Sequence[PromptRequirement]) -> dict[str, Any]:
    """Return what is stored of them: a prompt's name only where it is not that of the step."""
    return {
        need.step: {
            "version": need.version,
            "variables": need.variables,
            **({} if need.prompt == need.step else {"prompt": need.prompt}),
            **({"label": need.label} if need.label else {}),
        }
        for need in needs
    }


def _facts(row: asyncpg.Record) -> PipelineSummary:
    plan: list[Any] = json.loads(row["plan"])
    prompts: dict[str, Any] = json.loads(row["prompts"])
    return PipelineSummary(
        pipeline=row["pipeline"],
        version=row["version"],
        steps=frozenset(step[0] for step in plan),
        prompts=tuple(
            PromptRequirement(
                step,
                need["version"],
                _variables(need["variables"]),
                need.get("prompt", step),
                need.get("label", ""),
            )
            for step, need in prompts.items()
        ),
        models=tuple(map(_model_need, json.loads(row["models"] or "[]"))),
        plan=plan,
        code_needs=CodeNeeds(**json.loads(row["code_needs"])),
    )


def _variables(names: list[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(names)


def _model_need(need: dict[str, Any]) -> ModelRequirement:
    return ModelRequirement(
        step=need["step"],
        model=model_choice_from_document(need["model"]) if need["model"] else None,
        max_output_tokens=need["max_output_tokens"] or 0,
        json_schema=need["json_schema"],
    )
