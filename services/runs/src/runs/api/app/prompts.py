"""Prompts: creating and activating versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataplane import audit
from runs.domain.prompts import PromptDraft
from runs.errors import PromptVersionNotFound, RequestIdReused
from runs.store import prompts

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools
    from runs.domain.prompts import PromptVersion


class Prompts:
    """Creates and activates versions of prompts."""

    def __init__(self, tenants: TenantPools) -> None:
        self._tenants = tenants

    async def create(
        self, tenant_id: str, request_id: str, step: str, content: str
    ) -> PromptVersion:
        """Create the next version of a step's prompt, inactive.

        A repeated `request_id` returns what its first call created, or raises RequestIdReused if
        the content differs. Raises PromptTemplateInvalid.
        """
        draft = PromptDraft.parse(step, content)
        async with self._tenants.transaction(tenant_id) as connection:
            created = await prompts.insert(connection, draft, request_id)
            if created is None:
                existing = await prompts.find_by_request(connection, request_id)
                return _same(existing, draft, request_id)
            await audit.append(connection, "prompt.create", "prompt", f"{step}/{created.version}")
            return created

    async def activate(self, tenant_id: str, step: str, version: int) -> PromptVersion:
        """Make a version its step's active one; the same again changes nothing.

        Raises PromptVersionNotFound.
        """
        async with self._tenants.transaction(tenant_id) as connection:
            active = await prompts.activate(connection, step, version)
            if active is None:
                found = await prompts.find(connection, step, version)
                if found is None:
                    raise PromptVersionNotFound(step, version)
                return found
            await audit.append(connection, "prompt.activate", "prompt", f"{step}/{version}")
            return active


def _same(existing: PromptVersion | None, draft: PromptDraft, request_id: str) -> PromptVersion:
    if existing is None or (existing.step, existing.digest) != (draft.step, draft.digest):
        raise RequestIdReused(request_id, "prompt version")
    return existing
