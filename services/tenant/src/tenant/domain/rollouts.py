"""Rollouts: published migrations that reach the tenants' databases in waves."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from tenant.errors.rollouts import RolloutInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from tenant.domain.operations import Operation

WAVES = "waves"
"""The step of the operation in which the tenants are migrated."""

_CANARY_COUNT = 5
_WAVE_PERCENTS = (10, 100)
_CONCURRENCY = 8


class RolloutTenantState(StrEnum):
    """The column `rollout_tenants.state`."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """What a rollout was asked for."""

    canary_tenant_ids: tuple[str, ...]
    canary_count: int
    wave_percents: tuple[int, ...]
    failure_budget: int
    concurrency: int

    @classmethod
    def parse(
        cls,
        canary_tenant_ids: Sequence[str] = (),
        canary_count: int = 0,
        wave_percents: Sequence[int] = (),
        failure_budget: int = 0,
        concurrency: int = 0,
    ) -> RolloutPlan:
        """Fill in what was left out. Raises RolloutInvalid."""
        percents = tuple(wave_percents) or _WAVE_PERCENTS
        if percents[-1] != 100 or list(percents) != sorted(set(percents)):
            raise RolloutInvalid("the percentages of the waves have to grow, and to end with 100")
        return cls(
            tuple(canary_tenant_ids),
            canary_count or _CANARY_COUNT,
            percents,
            failure_budget,
            concurrency or _CONCURRENCY,
        )

    def arguments(self) -> dict[str, object]:
        """Return the plan as the operation's arguments."""
        return {
            "canary_tenant_ids": list(self.canary_tenant_ids),
            "canary_count": self.canary_count,
            "wave_percents": list(self.wave_percents),
            "failure_budget": self.failure_budget,
            "concurrency": self.concurrency,
        }

    def waves(self, tenant_ids: Sequence[str], seed: str) -> list[list[str]]:
        """Divide tenants, which are sorted by their age, into waves; none of them is empty.

        The canary is what the plan names, or is spread evenly from the oldest to the newest: old
        tenants have the most rows, and rows of all earlier releases. The others come in an order
        that follows from `seed`. Raises RolloutInvalid for a canary that is none of the tenants.
        """
        for tenant_id in self.canary_tenant_ids:
            if tenant_id not in tenant_ids:
                raise RolloutInvalid(f"{tenant_id} is not active, or lacks nothing", tenant_id)
        canary = [*self.canary_tenant_ids] or _spread(tenant_ids, self.canary_count)
        rest = [tenant_id for tenant_id in tenant_ids if tenant_id not in set(canary)]
        random.Random(seed).shuffle(rest)  # noqa: S311 - a sample
        waves, migrated = [canary], len(canary)
        for percent in self.wave_percents:
            size = max(0, -(-len(tenant_ids) * percent // 100) - migrated)
            waves.append(rest[:size])
            rest, migrated = rest[size:], migrated + size
        return [wave for wave in waves if wave]


def _spread(tenant_ids: Sequence[str], count: int) -> list[str]:
    last = len(tenant_ids) - 1
    if count > last:
        return [*tenant_ids]
    places = {round(place * last / max(1, count - 1)) for place in range(count)}
    return [tenant_ids[place] for place in sorted(places)]


@dataclass(frozen=True, slots=True)
class RolloutWave:
    """How many tenants of one wave are how far."""

    number: int
    tenant_count: int
    done_count: int
    failed_count: int
    skipped_count: int


@dataclass(frozen=True, slots=True)
class RolloutRecord:
    """A rollout as its tables have it; its state is that of its operation."""

    operation: Operation
    targets: Mapping[str, int]
    """The last migration of each service that it applies."""
    failure_budget: int
    concurrency: int
    waves: tuple[RolloutWave, ...]

    @property
    def failed_count(self) -> int:
        return sum(wave.failed_count for wave in self.waves)


@dataclass(frozen=True, slots=True)
class RolloutTenant:
    """One tenant's part in a rollout."""

    tenant_id: str
    wave: int
    state: RolloutTenantState
    failure: str
    begin_time: datetime | None
    end_time: datetime | None
