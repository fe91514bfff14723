"""Removal of the bytes of small files from the database, once the store has them."""

from __future__ import annotations

import asyncio
import logging
from contextvars import Context
from typing import TYPE_CHECKING

from artifacts.store import bodies
from servicekit.errors import DomainError

if TYPE_CHECKING:
    from dataplane.tenants import TenantPools

_PAUSE_SECONDS = 0.5
_log = logging.getLogger(__name__)


class StoredBodies:
    """Deletes rows of `artifact_bodies`: one statement for all files of a tenant in half a second.

    What it does not come to delete, the collector does, after it has put the bytes once more.
    """

    def __init__(self, tenants: TenantPools) -> None:
        self._tenants = tenants
        self._paths: dict[str, list[str]] = {}
        self._removal: asyncio.Task[None] | None = None

    def add(self, tenant_id: str, path: str) -> None:
        """Have the bytes of a file deleted that the store has."""
        self._paths.setdefault(tenant_id, []).append(path)
        if self._removal is None:
            # In a context of its own: it must not end with the deadline of this call.
            self._removal = asyncio.create_task(self._remove_later(), context=Context())

    async def flush(self) -> None:
        """Delete the bytes of all files that were added."""
        while self._paths:
            tenant_id, paths = self._paths.popitem()
            try:
                async with self._tenants.connection(tenant_id) as connection:
                    await bodies.delete(connection, paths)
            except DomainError as error:
                _log.info(
                    "bytes of small files stay in the database until the collector's visit",
                    extra={
                        "event": "artifact_bodies.kept",
                        "tenant_id": tenant_id,
                        "count": len(paths),
                        "why": error.message,
                    },
                )

    async def _remove_later(self) -> None:
        try:
            while self._paths:
                await asyncio.sleep(_PAUSE_SECONDS)
                await self.flush()
        finally:
            self._removal = None
