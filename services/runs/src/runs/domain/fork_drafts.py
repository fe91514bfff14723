"""What ForkRun asks for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jsonvalues import canonical
from runs.domain.inputs import Held, check_size, input_json
from runs.domain.models import model_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runs.domain.inputs import RunInput
    from runs.domain.models import ModelChoice


@dataclass(frozen=True, slots=True)
class ForkDraft:
    """A fork that is to be created; the size of its input has been checked."""

    request_id: str
    digest: str
    """The sha256 of everything that is asked for."""
    run_id: str
    """The run that it takes over from."""
    from_step: str
    """The step that is done again, and all that uses its output; empty for none."""
    items: frozenset[int]
    """The elements of that step that are done again; all when empty."""
    pipeline_version: int
    """0 for the run's own."""
    prompt_versions: Mapping[str, int]
    """By step; 0 for the version that is active now."""
    step_models: Mapping[str, ModelChoice]
    given: RunInput | None
    """Another input; None for the run's own."""

    @classmethod
    def parse(
        cls,
        request_id: str,
        run_id: str,
        first: tuple[str, frozenset[int]],
        pipeline_version: int,
        prompt_versions: Mapping[str, int],
        step_models: Mapping[str, ModelChoice],
        given: RunInput | None,
    ) -> ForkDraft:
        """Check the input's size and take the digest. Raises InputInvalid."""
        from_step, items = first
        if given is not None:
            check_size(given)
        asked = {
            "fork": run_id,
            "from_step": from_step,
            "items": sorted(items),
            "pipeline_version": pipeline_version,
            "prompt_versions": dict(prompt_versions),
            "step_models": {step: model_json(choice) for step, choice in step_models.items()},
            "input": None if given is None else input_json(given),
            "held": isinstance(given, Held),
        }
        return cls(
            request_id=request_id,
            digest=hashlib.sha256(canonical(asked)).hexdigest(),
            run_id=run_id,
            from_step=from_step,
            items=items,
            pipeline_version=pipeline_version,
            prompt_versions=prompt_versions,
            step_models=step_models,
            given=given,
        )
