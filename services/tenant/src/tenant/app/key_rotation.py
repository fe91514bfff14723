"""Rotation of the keys that encrypt secrets."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataplane import audit
from tenant.domain.operations import RESULT, OperationKind
from tenant.operations.saga import Saga, Step
from tenant.store import encrypted_columns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataplane.pools import Connection
    from dataplane.tenants import ManagementPool
    from tenant.app.key_source import KeySource
    from tenant.domain.operations import Operation
    from tenant.operations.operations import Operations
    from tenant.store.encrypted_columns import EncryptedColumn

_ROWS_AT_ONCE = 200
_POLL_SECONDS = 0.2
_ACTIVE_KEY = "active_key"


@dataclass(frozen=True, slots=True)
class EncryptionKey:
    """A key, and how many secrets it encrypts."""

    key_id: str
    is_active: bool
    secret_count: int
    is_present: bool


class KeyRotation:
    """Encrypts every secret with the active key, a few at a time, while calls go on.

    A secret that changes meanwhile is left alone: it is encrypted with the active key by then.
    """

    def __init__(self, management: ManagementPool, operations: Operations, keys: KeySource) -> None:
        self._management = management
        self._operations = operations
        self._keys = keys
        self.saga = Saga(
            OperationKind.ROTATE_KEYS,
            (
                Step("key", self._make_key),
                Step("activation", self._await_activation),
                Step("encryption", self._encrypt_all),
                Step("unused_keys", self._find_unused),
            ),
            lock=lambda _: "rotate_keys",
        )

    async def begin(self, request_id: str) -> Operation:
        """Begin a rotation. Raises RequestIdReused."""
        async with self._management.transaction() as connection:
            operation = await self._operations.begin(
                connection, OperationKind.ROTATE_KEYS, "", request_id, {}
            )
            await audit.append(connection, "keys.rotate", "operation", operation.operation_id)
        self._operations.run(operation.operation_id)
        return operation

    async def keys(self) -> list[EncryptionKey]:
        """Return the keys that there are, and those that secrets are encrypted with, by id."""
        async with self._management.connection() as connection:
            counts = await encrypted_columns.counts(connection)
        ring = self._keys.ring
        return [
            EncryptionKey(each, each == ring.active, counts.get(each, 0), each in ring.key_ids)
            for each in sorted(ring.key_ids | counts.keys())
        ]

    async def _make_key(self, connection: Connection, operation: Operation) -> Mapping[str, object]:
        """Make a data key whose id is the operation's; with a file, take the one that it names."""
        if not self._keys.has_data_keys:
            await self._keys.refresh(connection)
            return {_ACTIVE_KEY: self._keys.ring.active}
        key_id = "d" + operation.operation_id.replace("-", "")
        await self._keys.create(connection, key_id)
        return {_ACTIVE_KEY: key_id}

    async def _await_activation(self, connection: Connection, operation: Operation) -> None:
        """Wait until the key can encrypt; if a newer one does by then, it is as good."""
        key_id = str(operation.notes[_ACTIVE_KEY])
        while True:
            if await self._keys.is_usable(connection, key_id):
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def _encrypt_all(self, connection: Connection, operation: Operation) -> None:
        counts = await encrypted_columns.counts(connection)
        total = sum(counts.values()) - counts.get(self._keys.ring.active, 0)
        done = 0
        for column in encrypted_columns.COLUMNS:
            while number := await self._encrypt_some(connection, column):
                done += number
                await self._operations.progress(operation, done, max(done, total), "secrets")

    async def _encrypt_some(self, connection: Connection, column: EncryptedColumn) -> int:
        ring = self._keys.ring
        found = await encrypted_columns.not_encrypted_with(
            connection, column, ring.active, _ROWS_AT_ONCE
        )
        for value in found:
            secret = ring.decrypt(value.encrypted, *value.place)
            encrypted = ring.encrypt(secret, *value.place)
            await encrypted_columns.replace(connection, column, value, encrypted)
        return len(found)

    async def _find_unused(self, _: Connection, operation: Operation) -> Mapping[str, object]:
        keys = await self.keys()
        unused = [key.key_id for key in keys if not key.is_active and not key.secret_count]
        active = next(key.key_id for key in keys if key.is_active)
        return {RESULT: {"active_key": active, "unused_keys": ", ".join(unused)}}
