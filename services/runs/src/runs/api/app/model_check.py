"""Checks that the llm steps of a run get a model, before anything is recorded."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from runs.errors import ModelUnusable
from servicekit.call import current_call
from servicekit.errors import DomainError, Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from runs.domain.models import ModelChoice, ModelFault, ModelRequirement
    from runs.peers.llm_gateway import LlmGateway

_LONGEST_SECONDS = 2.0
_AT_ONCE = 16
_KNOWN_SECONDS = 1.0
_MOST_KNOWN = 10_000
_log = logging.getLogger(__name__)

_Question: TypeAlias = "tuple[str, ModelRequirement, ModelChoice | None]"
"""The tenant, what a step asks of its model, and the run's own choice."""


class ModelCheck:
    """Asks the llm-gateway, one request for each step, at most 16 at once.

    A gateway that is away or slow refuses nothing: what it does not answer in time, the step finds
    out once it begins.
    """

    def __init__(self, gateway: LlmGateway, clock: Callable[[], float] = time.monotonic) -> None:
        self._gateway = gateway
        self._clock = clock
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._known_until: dict[_Question, float] = {}

    async def check_lately(
        self, tenant_id: str, needs: Sequence[ModelRequirement], chosen: Mapping[str, ModelChoice]
    ) -> None:
        """Check as `check` does what did not get a model within the last second.

        Runs of one pipeline are created many at once, and each step would cost a request.
        """
        now = self._clock()
        unknown = [
            need
            for need in needs
            if self._known_until.get((tenant_id, need, chosen.get(need.step)), 0.0) <= now
        ]
        await self.check(tenant_id, unknown, chosen)

    async def check(
        self, tenant_id: str, needs: Sequence[ModelRequirement], chosen: Mapping[str, ModelChoice]
    ) -> None:
        """Raise ModelUnusable, with each step that gets no model, or none that can do its work.

        `chosen` are the run's own models, by step: they go before the pipeline's.
        """
        call = current_call()
        left = None if call is None else call.remaining()
        seconds = _LONGEST_SECONDS if left is None else min(_LONGEST_SECONDS, left / 2)
        found = await asyncio.gather(
            *(self._find_fault(tenant_id, need, chosen.get(need.step), seconds) for need in needs)
        )
        faults = [fault for fault in found if fault is not None]
        if faults:
            violations = [
                Violation(f'step_models["{fault.step}"]', fault.description) for fault in faults
            ]
            raise ModelUnusable(violations, step=faults[0].step, gateway_reason=faults[0].reason)

    async def _find_fault(
        self, tenant_id: str, need: ModelRequirement, chosen: ModelChoice | None, seconds: float
    ) -> ModelFault | None:
        question = (tenant_id, need, chosen)
        if chosen is not None:
            need = replace(need, model=None)
        try:
            async with asyncio.timeout(seconds), self._at_once:
                fault = await self._gateway.find_model_fault(tenant_id, need, chosen)
        except (TimeoutError, DomainError) as error:
            why = error.message if isinstance(error, DomainError) else "no answer in time"
            _log.info(
                "whether a step gets a model is not known",
                extra={"event": "model_check.skipped", "step": need.step, "why": why},
            )
            return None
        if fault is None:
            if len(self._known_until) > _MOST_KNOWN:
                self._known_until.clear()
            self._known_until[question] = self._clock() + _KNOWN_SECONDS
        return fault
