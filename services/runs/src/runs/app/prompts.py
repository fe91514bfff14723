"""What the service decides about prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataplane import audit
from runs.domain.prompts import PromptDraft
from runs.errors import PromptVersionNotFound, RequestIdReused

if TYPE_CHECKING:
    from dataplane.pools import Connection
    from dataplane.tenants import TenantPools
    from runs.domain.prompts import PromptVersion
    from runs.store.prompts import PromptStore


class Prompts:
    def __init__(self, tenants: TenantPools, store: PromptStore) -> None:
        self._tenants = tenants
        self._store = store

    async def create(
        self, tenant_id: str, request_id: str, step: str, content: str
    ) -> PromptVersion:
        """Create the next version of a step's prompt, inactive.

        A repeated `request_id` returns what its first call created, or raises RequestIdReused if
        the content differs. Raises PromptTemplateInvalid.
        """
        draft = PromptDraft.parse(step, content)
        async with self._tenants.transaction(tenant_id) as connection:
            created = await self._store.insert(connection, draft, request_id)
            if created is None:
                existing = await self._store.find_by_request(connection, request_id)
                return _same(existing, draft, request_id)
            await audit.append(connection, "prompt.create", "prompt", f"{step}/{created.version}")
            return created

    async def activate(self, tenant_id: str, step: str, version: int) -> PromptVersion:
        """Make a version its step's active one; the same again changes nothing.

        Raises PromptVersionNotFound.
        """
        async with self._tenants.transaction(tenant_id) as connection:
            active = await self._store.activate(connection, step, version)
            if active is None:
                return await self._active(connection, step, version)
            await audit.append(connection, "prompt.activate", "prompt", f"{step}/{version}")
            return active

    async def _active(self, connection: Connection, step: str, version: int) -> PromptVersion:
        found = await self._store.find(connection, step, version)
        if found is None:
            raise PromptVersionNotFound(step, version)
        return found


def _same(existing: PromptVersion | None, draft: PromptDraft, request_id: str) -> PromptVersion:
    if existing is None or (existing.step, existing.digest) != (draft.step, draft.digest):
        raise RequestIdReused(request_id, "prompt version")
    return existing
