"""Pipelines that have been checked and have no version yet."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jsonvalues import canonical
from runs.domain.pipeline_rules import violations
from runs.domain.plan import PLAN_LIMIT, Plan
from runs.errors import PipelineInvalid, PlanTooLarge

if TYPE_CHECKING:
    from collections.abc import Callable

    from jsonvalues import JsonMapping
    from runs.domain.pipelines import PipelineSpec


@dataclass(frozen=True, slots=True)
class PipelineDraft:
    """A pipeline that has been checked, with its plan."""

    pipeline: str
    spec: PipelineSpec
    document: JsonMapping
    """The spec as it is stored."""
    digest: str
    plan: Plan
    plan_size_bytes: int

    @classmethod
    def parse(
        cls, pipeline: str, spec: PipelineSpec, as_json: Callable[[PipelineSpec], JsonMapping]
    ) -> PipelineDraft:
        """Check a spec and make its plan. Raises PipelineInvalid and PlanTooLarge.

        `as_json` makes the document that is stored; only of a spec that has been checked.
        """
        faults = violations(spec)
        if faults:
            raise PipelineInvalid(faults)
        plan = Plan.of(spec)
        size = len(plan.encode())
        if size > PLAN_LIMIT:
            raise PlanTooLarge(size, PLAN_LIMIT)
        document = as_json(spec)
        digest = hashlib.sha256(canonical(document)).hexdigest()
        return cls(pipeline, spec, document, digest, plan, size)
