"""Steps that call a function."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jsonvalues import NothingThere, NotJson, at, canonical
from runs.domain.failures import StepImpossible
from runs.domain.metrics import number
from runs.domain.outputs import BYTES_AT_ONCE, FileDraft, output_name
from runs.functions import StepContext
from runs.store.outcomes import Outcome

if TYPE_CHECKING:
    from jsonvalues import JsonValue
    from runs.activities.sources import Sources
    from runs.domain.pipelines import FunctionStep, StepSpec
    from runs.functions import Functions
    from runs.peers.artifacts import Artifacts


class FunctionSteps:
    def __init__(self, functions: Functions, artifacts: Artifacts) -> None:
        self._functions = functions
        self._artifacts = artifacts

    async def perform(self, spec: StepSpec, step: FunctionStep, sources: Sources) -> Outcome:
        """Call the function and commit what it returns as the step's output.

        Raises StepFailed, what the services refuse, and whatever the function raises.
        """
        work = sources.work
        function = self._functions.find(step.function)
        context = StepContext(
            work, step.arguments, sources.outputs, sources.element(), self._artifacts
        )
        value = await function(context)
        data = _encoded(value)
        draft = FileDraft(
            run_id=work.run_id,
            step=work.step,
            name=output_name(work.item, work.visit),
            item=work.item,
            visit=work.visit,
            metrics=_metrics(spec, value),
        )
        return Outcome(await self._artifacts.put(work.tenant_id, draft, data))


def _encoded(value: JsonValue) -> bytes:
    try:
        data = canonical(value)
    except NotJson as error:
        raise StepImpossible(
            "OUTPUT_NOT_JSON", f"the function returned what JSON cannot hold: {error}"
        ) from None
    if len(data) > BYTES_AT_ONCE:
        raise StepImpossible(
            "OUTPUT_TOO_LARGE",
            f"the function returned {len(data):,} bytes, at most {BYTES_AT_ONCE:,} are possible: "
            "write files with StepContext.write and return what names them",
        )
    return data


def _metrics(spec: StepSpec, value: JsonValue) -> dict[str, int]:
    metrics: dict[str, int] = {}
    for name, pointer in spec.metrics.items():
        try:
            metrics[name] = round(number(at(value, pointer), name))
        except (KeyError, NothingThere):
            raise StepImpossible(
                "METRIC_NOT_A_NUMBER", f"the output holds no number for {name}"
            ) from None
    return metrics
