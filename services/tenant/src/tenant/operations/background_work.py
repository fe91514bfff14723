"""The last step of what loads a tenant's database from outside: services look at its rows."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from servicekit.errors import DeadlineExceeded, DomainError, LimitExceeded, Unavailable
from tenant.domain.operations import OperationKind
from tenant.operations.saga import Saga, Step

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dataplane.pools import Connection
    from tenant.domain.operations import Operation
    from tenant.peers.tenant_data import TenantDataPeers

_LOADING = (
    OperationKind.CLONE_TENANT,
    OperationKind.IMPORT_TENANT,
    OperationKind.RESTORE_BACKUP,
)
_log = logging.getLogger(__name__)


def with_background_work(sagas: Iterable[Saga], peers: TenantDataPeers) -> list[Saga]:
    """Add a step to those sagas that load a database: its runs, files and calls are seen to.

    Without it they would wait for the daily visit.
    """

    async def schedule(_: Connection, operation: Operation) -> None:
        tenant_id = operation.result.get("tenant_id", operation.tenant_id)
        try:
            await peers.schedule(tenant_id)
        except (Unavailable, DeadlineExceeded, LimitExceeded):
            raise  # tried again
        except DomainError as error:  # such as: it is suspended, and visited once it is resumed
            _log.info(
                "a loaded tenant is visited later",
                extra={
                    "event": "tenant_data.schedule_refused",
                    "tenant_id": tenant_id,
                    "why": error.message,
                },
            )

    step = Step("background_work", schedule)
    return [
        replace(saga, steps=(*saga.steps, step)) if saga.kind in _LOADING else saga
        for saga in sagas
    ]
