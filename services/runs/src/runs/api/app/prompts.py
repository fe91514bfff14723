"""Prompts: creating, activating and labelling versions, rendering."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataplane import audit
from runs.domain.prompts import PromptDraft
from runs.domain.templates import fill_in
from runs.errors import PromptUnusable, PromptVersionNotFound, RequestIdReused
from runs.store import prompt_uses, prompts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataplane.tenants import TenantPools
    from runs.domain.prompts import PromptUse, PromptVersion


class Prompts:
    """Creates, activates, labels and renders versions of prompts."""

    def __init__(self, tenants: TenantPools) -> None:
        self._tenants = tenants

    async def create(
        self, tenant_id: str, request_id: str, prompt: str, content: str
    ) -> PromptVersion:
        """Create the next version of a prompt, inactive.

        A repeated `request_id` returns what its first call created, or raises RequestIdReused if
        the content differs. Raises PromptTemplateInvalid.
        """
        draft = PromptDraft.parse(prompt, content)
        async with self._tenants.transaction(tenant_id) as connection:
            created = await prompts.insert(connection, draft, request_id)
            if created is None:
                existing = await prompts.find_by_request(connection, request_id)
                return _same(existing, draft, request_id)
            await audit.append(connection, "prompt.create", "prompt", f"{prompt}/{created.version}")
            return created

    async def activate(
        self, tenant_id: str, prompt: str, version: int
    ) -> tuple[PromptVersion, tuple[PromptUse, ...]]:
        """Make a version its prompt's active one; the same again changes nothing.

        Returns also which steps use the active version. Raises PromptVersionNotFound.
        """
        async with self._tenants.transaction(tenant_id) as connection:
            uses = [use for use in await prompt_uses.find(connection, prompt) if not use.label]
            active = await prompts.activate(connection, prompt, version)
            if active is None:
                found = await prompts.find(connection, prompt, version)
                if found is None:
                    raise PromptVersionNotFound(prompt, version)
                return found, tuple(uses)
            await audit.append(connection, "prompt.activate", "prompt", f"{prompt}/{version}")
            return active, tuple(uses)

    async def set_label(
        self, tenant_id: str, prompt: str, label: str, version: int
    ) -> tuple[PromptVersion | None, tuple[PromptUse, ...]]:
        """Set a label to a version, or remove it when that is 0; the same again changes nothing.

        Returns also which steps use the label. Raises PromptVersionNotFound.
        """
        async with self._tenants.transaction(tenant_id) as connection:
            await prompts.lock(connection, prompt)
            before = await prompts.find_labelled(connection, prompt, label)
            if version and await prompts.find(connection, prompt, version) is None:
                raise PromptVersionNotFound(prompt, version)
            if (before.version if before else 0) != version:
                await prompts.set_label(connection, prompt, label, version)
                details = {"label": label, "version": version}
                await audit.append(connection, "prompt.label", "prompt", prompt, details)
            labelled = await prompts.find_labelled(connection, prompt, label)
            uses = await prompt_uses.find(connection, prompt)
            return labelled, tuple(use for use in uses if use.label == label)

    async def render(
        self, tenant_id: str, named: tuple[str, int, str], content: str, values: Mapping[str, str]
    ) -> tuple[str, PromptDraft, int]:
        """Render a version of a prompt, by name, number and label, or `content` if it is not empty.

        Returns the text, the template, and the version's number. Raises PromptVersionNotFound,
        PromptTemplateInvalid and PromptUnusable.
        """
        prompt, number, label = named
        version = 0
        if not content:
            async with self._tenants.connection(tenant_id) as connection:
                found = await prompts.choose(connection, prompt, number, label)
            if found is None:
                raise PromptVersionNotFound(prompt, number, label)
            content, version = found.content, found.version
        draft = PromptDraft.parse(prompt, content)
        _check_values(draft, values)
        return fill_in(content, values), draft, version


def _check_values(draft: PromptDraft, values: Mapping[str, str]) -> None:
    unknown = [name for name in sorted(values) if name not in draft.variables]
    missing = [name for name in draft.variables if name not in values]
    faults = [f"no value is given for {name}" for name in missing]
    faults += [f"the prompt has no variable {name}" for name in unknown]
    if faults:
        first = (missing or unknown)[0]
        raise PromptUnusable("; ".join(faults), step=draft.prompt, variable=first)


def _same(existing: PromptVersion | None, draft: PromptDraft, request_id: str) -> PromptVersion:
    if existing is None or (existing.prompt, existing.digest) != (draft.prompt, draft.digest):
        raise RequestIdReused(request_id, "prompt version")
    return existing
