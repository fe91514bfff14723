"""SQL for the runs that a filter names."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import paging

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from dataplane.pools import Connection
    from paging import Value
    from runs.domain.run_filters import RunFilter

Condition: TypeAlias = "tuple[str, Value | tuple[Value, ...] | None]"
"""As `paging.where` takes it."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The runs that a filter names, as FROM and conditions, and by which columns they are sorted.

    With labels, the rows of `run_labels` come first: they are sorted as the runs are.
    """

    source: str
    conditions: tuple[Condition, ...]
    moment: str
    key: str

    def where(self, *more: Condition) -> tuple[str, list[Value]]:
        """Return the WHERE clause, with more conditions, and its parameters from $1 on."""
        return paging.where(*self.conditions, *more)


def selection(wanted: RunFilter) -> Selection:
    """Return what selects the runs of a filter."""
    joins = [
        f"JOIN run_labels AS label{number} ON label{number}.run_id = runs.id"
        f" AND label{number}.run_created_at = runs.created_at"
        for number in range(len(wanted.labels))
    ]
    labels = [
        (f"label{number}.name = {{}} AND label{number}.value = {{}}", pair)
        for number, pair in enumerate(sorted(wanted.labels.items()))
    ]
    moment = "label0.run_created_at" if labels else "runs.created_at"
    statuses = tuple(sorted(wanted.statuses))
    return Selection(
        source=" ".join(["runs", *joins]),
        conditions=(
            *labels,
            ("pipeline = {}", wanted.pipeline or None),
            (f"status IN ({', '.join(['{}'] * len(statuses))})", statuses or None),
            ("cost_micro_usd >= {}", wanted.least_micro_usd or None),
            ("cost_micro_usd <= {}", wanted.most_micro_usd),
            (f"{moment} >= {{}}", wanted.created_from),
            (f"{moment} < {{}}", wanted.created_before),
        ),
        moment=moment,
        key="label0.run_id" if labels else "runs.id",
    )


@asynccontextmanager
async def planned_for_values(connection: Connection) -> AsyncGenerator[None]:
    """Have statements planned for the values that they are given, inside the block.

    Elsewhere they are planned once a connection, for any values. But which index serves depends on
    how many runs have a status, a label or a cost.
    """
    async with connection.transaction(readonly=True):
        await connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
        yield
