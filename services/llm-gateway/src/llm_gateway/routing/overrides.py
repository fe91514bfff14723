"""The tenants' overrides as this process read them last: a guess that reserving a key checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llm_gateway.domain.models import ModelClass


class KnownOverrides:
    """Remembers the overrides of steps; a step of which none is known is taken to have none."""

    def __init__(self) -> None:
        self._overrides: dict[tuple[str, str], ModelClass] = {}

    def find(self, tenant_id: str, step: str) -> ModelClass | None:
        return self._overrides.get((tenant_id, step))

    def remember(self, tenant_id: str, step: str, override: ModelClass | None) -> None:
        if override is None:
            self._overrides.pop((tenant_id, step), None)
        else:
            self._overrides[tenant_id, step] = override

    def forget(self, tenant_id: str) -> None:
        """Forget a tenant's overrides: it has changed, or is gone."""
        for key in [key for key in self._overrides if key[0] == tenant_id]:
            del self._overrides[key]
