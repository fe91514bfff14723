"""Applying a pipeline: its prompts and its steps become what is asked for, together."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from dataplane import audit
from runs.api.app.pipelines import check_prompts
from runs.domain.applied_pipelines import AppliedPipeline, AppliedPrompt
from runs.domain.drafts import PipelineDraft
from runs.domain.prompts import PromptDraft
from runs.errors import PromptShared, RequestIdReused
from runs.store import pipelines, prompt_uses, prompts
from runs.wire.pipelines import document
from servicekit.call import require_permission
from servicekit.errors import RequestInvalid, Violation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataplane.pools import Connection
    from dataplane.tenants import TenantPools
    from runs.domain.pipelines import PipelineSpec
    from runs.domain.prompts import PromptVersion

_PERMISSION = "prompts.write"


class _RolledBack(Exception):
    """What was to be validated only is undone."""

    def __init__(self, applied: AppliedPipeline) -> None:
        super().__init__()
        self.applied = applied


class PipelineApply:
    """Applies pipelines."""

    def __init__(self, tenants: TenantPools) -> None:
        self._tenants = tenants

    async def apply(
        self,
        tenant_id: str,
        pipeline: str,
        spec: PipelineSpec,
        templates: Sequence[tuple[str, str]],
        *,
        validate_only: bool,
        allow_shared: bool,
    ) -> AppliedPipeline:
        """Make prompts, by name and content, and a pipeline what is asked for, in one transaction.

        With `validate_only` everything is undone, and the result says what would be. Raises
        PipelineInvalid, PlanTooLarge, PromptTemplateInvalid, PromptUnusable, PromptShared,
        PermissionDenied and RequestInvalid.
        """
        draft = PipelineDraft.parse(pipeline, spec, document)
        drafts = [PromptDraft.parse(prompt, content) for prompt, content in templates]
        _check_request(spec, drafts)
        try:
            async with self._tenants.transaction(tenant_id) as connection:
                applied = await _apply(connection, draft, drafts, allow_shared=allow_shared)
                if validate_only:
                    raise _RolledBack(applied)
        except _RolledBack as undone:
            return undone.applied
        return applied


def _check_request(spec: PipelineSpec, drafts: Sequence[PromptDraft]) -> None:
    if drafts:
        require_permission(_PERMISSION)
    used = {need.prompt for need in spec.prompts() if not need.version and not need.label}
    faults: list[Violation] = []
    seen: set[str] = set()
    for number, each in enumerate(drafts):
        field = f"prompts[{number}].prompt"
        if each.prompt not in used:
            faults.append(Violation(field, f"no step uses the active version of {each.prompt}"))
        if each.prompt in seen:
            faults.append(Violation(field, f"{each.prompt} is given twice"))
        seen.add(each.prompt)
    if faults:
        raise RequestInvalid(f"{faults[0].field}: {faults[0].description}", violations=faults)


async def _apply(
    connection: Connection,
    draft: PipelineDraft,
    drafts: Sequence[PromptDraft],
    *,
    allow_shared: bool,
) -> AppliedPipeline:
    # In one order, so that two at a time do not wait for each other.
    applied = {
        each.prompt: await _apply_prompt(
            connection, each, draft.pipeline, allow_shared=allow_shared
        )
        for each in sorted(drafts, key=lambda each: each.prompt)
    }
    needs = draft.spec.prompts()
    check_prompts(needs, await prompts.facts(connection, needs) if needs else {})
    await pipelines.lock(connection, draft.pipeline)
    newest = await pipelines.find(connection, draft.pipeline, 0)
    outcomes = tuple(applied[each.prompt] for each in drafts)
    if newest is not None and newest.digest == draft.digest:
        return AppliedPipeline(newest, created=False, prompts=outcomes)
    request_id = secrets.token_hex(16)
    created = await pipelines.insert(connection, draft, request_id)
    if created is None:
        raise RequestIdReused(request_id, "pipeline version")
    resource = f"{draft.pipeline}/{created.version}"
    await audit.append(connection, "pipeline.create", "pipeline", resource)
    return AppliedPipeline(created, created=True, prompts=outcomes)


async def _apply_prompt(
    connection: Connection, draft: PromptDraft, pipeline: str, *, allow_shared: bool
) -> AppliedPrompt:
    await prompts.lock(connection, draft.prompt)
    before = await prompts.find_active(connection, draft.prompt)
    if before is not None and before.digest == draft.digest:
        return AppliedPrompt(before, changed=False, replaced_version=before.version)
    uses = await prompt_uses.find(connection, draft.prompt)
    others = sorted({use.pipeline for use in uses if not use.label} - {pipeline})
    if others and not allow_shared:
        raise PromptShared(draft.prompt, others)
    version = await prompts.find_content(connection, draft) or await _create(connection, draft)
    active = await prompts.activate(connection, draft.prompt, version.version) or version
    resource = f"{draft.prompt}/{active.version}"
    await audit.append(connection, "prompt.activate", "prompt", resource)
    return AppliedPrompt(active, changed=True, replaced_version=before.version if before else 0)


async def _create(connection: Connection, draft: PromptDraft) -> PromptVersion:
    request_id = secrets.token_hex(16)
    created = await prompts.insert(connection, draft, request_id)
    if created is None:
        raise RequestIdReused(request_id, "prompt version")
    resource = f"{draft.prompt}/{created.version}"
    await audit.append(connection, "prompt.create", "prompt", resource)
    return created
