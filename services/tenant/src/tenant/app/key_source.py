"""Where the keys of the key ring come from, and how they change while the service runs."""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING

from servicekit.errors import DomainError
from servicekit.periodic import PeriodicTask
from tenant.domain.encryption import KeyRingInvalid, new_key, parse_keys
from tenant.store import data_keys

if TYPE_CHECKING:
    from pathlib import Path

    from dataplane.pools import Connection
    from dataplane.tenants import ManagementPool
    from tenant.domain.encryption import KeyRing
    from tenant.key_management.service import KeyManagementService
    from tenant.store.data_keys import DataKey

REFRESH_SECONDS = 2.0
ANNOUNCED_SECONDS = 10.0
"""How long a new data key is known before it encrypts: every process learns of it meanwhile."""

_ID_BYTES = 8
_log = logging.getLogger(__name__)


class KeySource:
    """Keeps the keys of a ring up to date: those of a file, and data keys in `data_keys`.

    With a key management service, data keys encrypt; the file's keys only decrypt what they have
    encrypted before. Without one, the file's active key encrypts.
    """

    def __init__(
        self,
        ring: KeyRing,
        file: Path | None,
        service: KeyManagementService | None,
        service_name: str,
    ) -> None:
        self.ring = ring
        self._file = file
        self._service = service
        self._service_name = service_name
        self._unwrapped: dict[str, bytes] = {}
        self._refreshing: PeriodicTask | None = None

    @property
    def has_data_keys(self) -> bool:
        """Whether a key management service is used."""
        return self._service is not None

    async def prepare(self, connection: Connection) -> None:
        """Read the keys, and make the first data key; under the lock of the bootstrap.

        `connection` is to the management database. Raises KeyRingInvalid,
        KeyManagementUnavailable, KeyManagementRefused.
        """
        if self._service is not None and not await self._usable(connection):
            await self.create(connection, f"d{secrets.token_hex(_ID_BYTES)}", 0.0)
        await self.refresh(connection)

    def start(self, management: ManagementPool) -> None:
        """Begin to look for changes, every two seconds."""
        self._refreshing = PeriodicTask(
            lambda: self._refresh_with(management),
            REFRESH_SECONDS,
            _log,
            "key_ring.unavailable",
            "keys cannot be read again",
            transient=(DomainError, KeyRingInvalid, OSError),
            wait_first=True,
        )
        self._refreshing.start()

    async def stop(self) -> None:
        """Look for changes no more, and close the connections to the key management service."""
        if self._refreshing is not None:
            await self._refreshing.stop()
        if self._service is not None:
            await self._service.close()

    async def create(
        self, connection: Connection, key_id: str, seconds: float | None = None
    ) -> None:
        """Make a data key, active soon; nothing if it exists.

        Raises KeyManagementUnavailable, KeyManagementRefused.
        """
        if self._service is None:
            raise LookupError("there is no key management service")
        wrapped = await self._service.encrypt(new_key(), _context(key_id))
        after = ANNOUNCED_SECONDS if seconds is None else seconds
        await data_keys.insert(connection, key_id, self._service_name, wrapped, after)

    async def is_usable(self, connection: Connection, key_id: str) -> bool:
        """Read the keys again; return whether each process has had the time to learn of a key.

        A file's keys are: which of them encrypts is the operator's decision. Raises what `refresh`
        raises.
        """
        await self.refresh(connection)
        if self._service is None:
            return True
        found = await data_keys.list_all(connection)
        return any(key.is_usable for key in found if key.key_id == key_id)

    async def refresh(self, connection: Connection) -> None:
        """Read the keys again. Raises what `prepare` raises, and OSError."""
        found = [] if self._service is None else await data_keys.list_all(connection)
        await self._replace(found)

    async def _refresh_with(self, management: ManagementPool) -> None:
        found: list[DataKey] = []
        if self._service is not None:
            async with management.connection() as connection:
                found = await data_keys.list_all(connection)
        await self._replace(found)

    async def _replace(self, encrypted: list[DataKey]) -> None:
        active, keys = "", dict[str, bytes]()
        if self._file is not None:
            active, keys = parse_keys(await asyncio.to_thread(self._file.read_text))
        for each in encrypted:
            keys[each.key_id] = await self._unwrap(each)
            active = each.key_id if each.is_usable else active
        if active not in keys:
            raise KeyRingInvalid(f"the active key {active!r} is not among the keys")
        if (active, keys.keys()) != (self.ring.active, self.ring.key_ids):
            self.ring.replace(active, keys)
            _log.info(
                "the key ring has changed",
                extra={"event": "key_ring.changed", "active": active, "keys": sorted(keys)},
            )

    async def _usable(self, connection: Connection) -> bool:
        return any(key.is_usable for key in await data_keys.list_all(connection))

    async def _unwrap(self, found: DataKey) -> bytes:
        if found.key_id not in self._unwrapped and self._service is not None:
            key = await self._service.decrypt(found.wrapped, _context(found.key_id))
            self._unwrapped[found.key_id] = key
        return self._unwrapped[found.key_id]


def _context(key_id: str) -> dict[str, str]:
    return {"purpose": "nagaya data key", "key": key_id}
