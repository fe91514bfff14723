"""The catalogue as this process knows it, compared with the database every second."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from llm_gateway.store import snapshots
from servicekit.errors import DatabaseUnavailable
from servicekit.periodic import PeriodicTask

if TYPE_CHECKING:
    from dataplane.tenants import ManagementPool
    from llm_gateway.domain.catalog import Catalog

# A committed change counts for calls that begin two seconds later: one to notice, one to read.
_POLL_SECONDS = 0.75
_log = logging.getLogger(__name__)


class CatalogCache:
    """Caches the latest version of the catalogue; while the database is away, the last one read."""

    def __init__(self, management: ManagementPool) -> None:
        self._management = management
        self._catalog: Catalog | None = None
        self._refreshing = asyncio.Lock()
        self.task = PeriodicTask(
            self.refresh, _POLL_SECONDS, _log, "catalog.unavailable", "the catalogue cannot be read"
        )

    @property
    def current(self) -> Catalog:
        """The catalogue. Raises DatabaseUnavailable before it has been read once."""
        if self._catalog is None:
            raise DatabaseUnavailable("the catalogue has not been read yet")
        return self._catalog

    async def refresh(self) -> Catalog:
        """Bring the catalogue up to date now. Raises DatabaseUnavailable."""
        async with self._refreshing:
            async with self._management.connection() as connection:
                version = await snapshots.version(connection)
            if self._catalog is None or self._catalog.version != version:
                async with self._management.transaction() as connection:
                    self._catalog = await snapshots.load(connection)
                _log.info(
                    "the catalogue was read",
                    extra={"event": "catalog.read", "version": self._catalog.version},
                )
            return self._catalog
