"""Checks that the llm steps of a run get a model, before anything is recorded."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from runs.errors import ModelUnusable
from servicekit.call import current_call
from servicekit.errors import DomainError, Violation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runs.domain.models import ModelChoice, ModelFault, ModelRequirement
    from runs.peers.llm_gateway import LlmGateway

_LONGEST_SECONDS = 2.0
_AT_ONCE = 16
_log = logging.getLogger(__name__)


class ModelCheck:
    """Asks the llm-gateway, one request for each step, at most 16 at once.

    A gateway that is away or slow refuses nothing: what it does not answer in time, the step finds
    out once it begins.
    """

    def __init__(self, gateway: LlmGateway) -> None:
        self._gateway = gateway
        self._at_once = asyncio.Semaphore(_AT_ONCE)

    async def check(
        self, tenant_id: str, needs: Sequence[ModelRequirement], chosen: Mapping[str, ModelChoice]
    ) -> None:
        """Raise ModelUnusable, with each step that gets no model, or none that can do its work.

        `chosen` are the run's own models, by step.
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
        try:
            async with asyncio.timeout(seconds), self._at_once:
                return await self._gateway.find_model_fault(tenant_id, need, chosen)
        except (TimeoutError, DomainError) as error:
            why = error.message if isinstance(error, DomainError) else "no answer in time"
            _log.info(
                "whether a step gets a model is not known",
                extra={"event": "model_check.skipped", "step": need.step, "why": why},
            )
            return None
