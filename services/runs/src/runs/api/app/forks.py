"""Forks: a new run that takes over what another has done, and does the rest anew."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from runs.api.app.pipelines import check_prompts
from runs.domain.forks import WHOLE, Fork, steps_done_again
from runs.domain.inputs import Pointer
from runs.domain.near_names import did_you_mean
from runs.domain.pipelines import LlmStep
from runs.domain.runs import RunDraft, RunStatus
from runs.errors import PipelineNotFound, RunNotBegun, RunNotFound
from runs.store import pipelines, prompts, reused_steps, runs, steps
from servicekit.errors import DomainError, RequestInvalid, Violation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dataplane.pools import Connection
    from dataplane.tenants import TenantPools
    from runs.api.app.install_check import InstallCheck
    from runs.api.app.model_check import ModelCheck
    from runs.api.app.runs import Runs
    from runs.domain.fork_drafts import ForkDraft
    from runs.domain.forks import Elements
    from runs.domain.pipelines import PipelineSpec, PipelineSummary, StepSpec
    from runs.domain.prompts import PromptRequirement
    from runs.domain.runs import OutputFile, Run, RunParameters


class Forks:
    """Creates runs out of others."""

    def __init__(
        self,
        tenants: TenantPools,
        runs: Runs,
        checks: tuple[InstallCheck, ModelCheck],
    ) -> None:
        self._tenants = tenants
        self._runs = runs
        self._install_check, self._model_check = checks

    async def fork(self, tenant_id: str, draft: ForkDraft) -> Run:
        """Record a run that takes over from another one, and start it unless it is held.

        A repeated `request_id` returns what its first call created, or raises RequestIdReused if
        the content differs. Raises RunNotFound, RunNotBegun, PipelineNotFound, PromptUnusable,
        ModelUnusable, InputInvalid, RequestInvalid, and what InstallCheck raises.
        """
        try:
            run, facts, versions = await self._prepare(tenant_id, draft)
        except DomainError:
            repeated = await self._runs.find_repeated(tenant_id, draft.request_id, draft.digest)
            if repeated is None:
                raise
            return repeated  # what the request refers to has changed since
        return await self._runs.record(tenant_id, run, facts, versions)

    async def _prepare(
        self, tenant_id: str, draft: ForkDraft
    ) -> tuple[RunDraft, PipelineSummary, dict[str, int]]:
        """Return the run that is to be recorded, its pipeline, and the prompts' versions."""
        async with self._tenants.connection(tenant_id) as connection:
            source = await _Source.read(connection, draft)
            needs = [source.prompt_need(need, draft) for need in source.facts.prompts]
            found = await prompts.facts(connection, needs) if needs else {}
            done = await steps.done(connection, draft.run_id, source.first_visits())
        check_prompts(needs, found)
        versions = {need.step: found[need.step].version for need in needs}
        chosen = source.chosen(draft, versions)
        if not chosen and draft.given is None and source.run.status is RunStatus.COMPLETED:
            fault = "nothing would be done again: name a step, or change input, prompt or model"
            raise _invalid([Violation("from_step", fault)])
        again = steps_done_again(source.new, chosen)
        if draft.items and source.keeps_list(draft, again):
            async with self._tenants.connection(tenant_id) as connection:
                await _check_elements(connection, draft)
        if isinstance(draft.given, Pointer):
            await self._runs.check_pointer(tenant_id, draft.given)
        reused = done.keys() - again.keys() if draft.given is None else set[str]()
        await self._install_check.check(tenant_id, source.facts.code_needs)
        chooses = source.chooses_models(draft)
        models = [need for need in source.facts.models if need.step not in reused]
        step_models = {**source.parameters.step_models, **draft.step_models}
        await self._model_check.check_lately(tenant_id, models, step_models)
        run = source.run_draft(draft, Fork(draft.run_id, again, chooses))
        return run, source.facts, versions


@dataclass(frozen=True, slots=True)
class _Source:
    """What a fork takes from, and the pipeline that it goes through."""

    run: Run
    parameters: RunParameters
    input_file: OutputFile
    old: PipelineSpec
    new: PipelineSpec
    facts: PipelineSummary

    @classmethod
    async def read(cls, connection: Connection, draft: ForkDraft) -> _Source:
        """Read it. Raises RunNotFound, RunNotBegun, PipelineNotFound and RequestInvalid."""
        run = await runs.find(connection, draft.run_id)
        parameters = await runs.find_parameters(connection, draft.run_id)
        if run is None or parameters is None:
            raise RunNotFound(draft.run_id)
        if parameters.input_file is None:
            raise RunNotBegun(draft.run_id)
        version = draft.pipeline_version or run.pipeline_version
        facts = await pipelines.facts(connection, run.pipeline, version)
        old = await pipelines.find(connection, run.pipeline, run.pipeline_version)
        new = await pipelines.find(connection, run.pipeline, version)
        if facts is None or old is None or new is None:
            raise PipelineNotFound(run.pipeline, version)
        if new.spec.graph is not None:
            fault = "its pipeline is a graph, which decides anew what it runs; RetryRun goes on"
            raise _invalid([Violation("run_id", fault)])
        faults = [*_faults(draft, new.spec)]
        if faults:
            raise _invalid(faults)
        return cls(run, parameters, parameters.input_file, old.spec, new.spec, facts)

    def keeps_list(self, draft: ForkDraft, again: Mapping[str, Elements]) -> bool:
        """Return whether the list whose elements are done again is as long in the fork as here."""
        over = {step.step: step.map for step in self.new.steps}[draft.from_step]
        whole = again[draft.from_step] == WHOLE
        return draft.given is None and over is not None and over.step not in again and not whole

    def first_visits(self) -> dict[str, int]:
        """Return the only visit of each step that is in no loop."""
        return {step.step: 1 for step in self.new.steps if step.step not in self.new.loops}

    def prompt_need(self, need: PromptRequirement, draft: ForkDraft) -> PromptRequirement:
        """Return which version of its prompt a step gets: that of the source, unless told."""
        if need.step in draft.prompt_versions:
            return replace(need, version=draft.prompt_versions[need.step], label="")
        before = {each.step: each for each in self.old.prompts()}.get(need.step)
        pinned = self.parameters.prompt_versions.get(need.step, 0)
        same = before is not None and (before.prompt, before.label) == (need.prompt, need.label)
        return replace(need, version=pinned, label="") if same and not need.version else need

    def chooses_models(self, draft: ForkDraft) -> frozenset[str]:
        """Return the steps whose model a fork has chosen, this one or one before it."""
        before = self.parameters.fork
        models = frozenset(draft.step_models)
        return models if before is None else models | before.models

    def chosen(self, draft: ForkDraft, versions: Mapping[str, int]) -> dict[str, Elements]:
        """Return the steps and elements that are done again whatever the others do."""
        old = {step.step: step for step in self.old.steps}
        chosen = {
            step.step: WHOLE for step in self.new.steps if not _alike(step, old.get(step.step))
        }
        parameters = self.parameters
        changed = {
            *(s for s, v in versions.items() if v != parameters.prompt_versions.get(s)),
            *(s for s, m in draft.step_models.items() if m != parameters.step_models.get(s)),
        }
        if draft.from_step and draft.from_step not in chosen:
            chosen[draft.from_step] = draft.items
        return {**dict.fromkeys(changed, WHOLE), **chosen}

    def run_draft(self, draft: ForkDraft, fork: Fork) -> RunDraft:
        """Return the run that is to be recorded. Raises InputInvalid."""
        file = self.input_file
        return RunDraft.parse(
            draft.request_id,
            (self.run.pipeline, self.facts.version),
            draft.given or Pointer(file.output_path, file.output_digest),
            {**self.parameters.step_models, **draft.step_models},
            self.run.settings,
        ).forked(fork, draft.digest)


def _alike(step: StepSpec, before: StepSpec | None) -> bool:
    """Return whether a step does the same in both versions of a pipeline."""
    if before is None:
        return False
    over = before.map
    if over is not None and step.map is not None:
        over = replace(over, allowed=step.map.allowed, parallel=step.map.parallel)
    same = replace(before, map=over, timeout_seconds=step.timeout_seconds, retry=step.retry)
    return step == same


def _faults(draft: ForkDraft, spec: PipelineSpec) -> Iterator[Violation]:
    steps = {step.step: step for step in spec.steps}
    first = steps.get(draft.from_step)
    if draft.from_step and first is None:
        perhaps = did_you_mean(draft.from_step, steps)
        yield Violation("from_step", f"there is no step {draft.from_step}{perhaps}")
    if draft.items and not draft.from_step:
        yield Violation("items", "of which step? Name it in `from_step`")
    if draft.items and first is not None and first.map is None:
        yield Violation("items", f"{first.step} is not mapped, so it has no elements")
    for field, names in (
        ("step_models", draft.step_models),
        ("prompt_versions", draft.prompt_versions),
    ):
        for name in sorted(names):
            if name not in steps or not isinstance(steps[name].kind, LlmStep):
                yield Violation(f'{field}["{name}"]', f"{name} is no llm step of the pipeline")


async def _check_elements(connection: Connection, draft: ForkDraft) -> None:
    """Raise RequestInvalid for an element that the step of the source does not have."""
    count = await reused_steps.count_elements(connection, draft.run_id, draft.from_step)
    if count is None:
        return  # its list is not known, or the rest of it is to be done anyway
    if beyond := sorted(item for item in draft.items if item > count):
        fault = f"there is no element {beyond[0]}: step {draft.from_step} has {count}"
        raise _invalid([Violation("items", fault)])


def _invalid(faults: Sequence[Violation]) -> RequestInvalid:
    return RequestInvalid(f"{faults[0].field}: {faults[0].description}", violations=faults)
