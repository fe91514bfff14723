"""Keys that encrypt secrets: exchanged while calls go on, of a file or of a key service."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from tests.integration.tenant.harness import publish_both, started
from tests.support.key_services import running_vault
from tests.support.waiting import wait_until

from tenant.app.key_source import KeySource
from tenant.domain.encryption import DecryptionFailed, KeyRing
from tenant.domain.operations import OperationKind
from tenant.key_config import VaultConfig
from tenant.key_management.vault import VaultTransit
from tenant.store import encrypted_columns, operation_runs

if TYPE_CHECKING:
    from pathlib import Path

    from nagaya_local.parts.postgres import PostgresServer
    from tenant.composition import Composition
    from tenant.config import Config
    from tenant.domain.operations import Operation


async def rotated(service: Composition, request_id: str = "one") -> Operation:
    operation = await service.secrets.keys.begin(request_id)
    return await service.runner.run_to_end(operation)


def add_key(config: Config, *, active: bool) -> None:
    """Add the key `k2` to the key ring's file."""
    assert config.key_ring_file is not None
    ring: dict[str, Any] = json.loads(config.key_ring_file.read_text())
    ring["keys"].setdefault("k2", base64.b64encode(secrets.token_bytes(32)).decode())
    ring["active"] = "k2" if active else ring["active"]
    config.key_ring_file.write_text(json.dumps(ring))


async def counts(management: asyncpg.Connection) -> dict[str, int]:
    return await encrypted_columns.counts(management)


async def test_a_key_of_the_file_is_exchanged_while_services_connect(
    service: Composition, config: Config, management: asyncpg.Connection
) -> None:
    for number in range(6):
        await service.tenants.create(f"tenant-{number}", f"r{number}", "Tenant")
    rotating, resolved = True, 0

    async def resolve() -> None:
        nonlocal resolved
        while rotating:
            login = await service.connections.resolve("runs", f"tenant-{resolved % 6}")
            assert login.password
            await service.connections.own(f"tenant-{resolved % 6}")
            resolved += 1

    resolving = asyncio.gather(resolve(), resolve())
    add_key(config, active=False)
    async with service.management.connection() as connection:
        await service.keys.refresh(connection)
    add_key(config, active=True)
    operation = await rotated(service)
    rotating = False
    await resolving

    assert operation.result == {"active_key": "k2", "unused_keys": "k1"}
    assert (await counts(management)).keys() == {"k2"}
    keys = {key.key_id: key for key in await service.secrets.keys.keys()}
    assert (keys["k1"].is_active, keys["k1"].secret_count) == (False, 0)
    assert (keys["k2"].is_active, keys["k2"].is_present) == (True, True)
    assert resolved > 0
    ring = json.loads(config.key_ring_file.read_text()) if config.key_ring_file else {}
    del ring["keys"]["k1"]
    assert config.key_ring_file is not None
    config.key_ring_file.write_text(json.dumps(ring))
    async with started(config) as again:
        assert (await again.connections.resolve("runs", "tenant-0")).password


async def test_a_rotation_without_a_new_key_changes_nothing(
    service: Composition, management: asyncpg.Connection
) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    stored = "SELECT sealed FROM tenant_credentials ORDER BY service"
    before = await management.fetch(stored)

    operation = await rotated(service)

    assert operation.result == {"active_key": "k1", "unused_keys": ""}
    assert (
        await management.fetch("SELECT sealed FROM tenant_credentials ORDER BY service") == before
    )


async def test_a_key_that_is_missing_and_still_needed_is_shown(
    service: Composition, config: Config
) -> None:
    await service.tenants.create("acme", "r1", "Acme")
    add_key(config, active=True)
    assert config.key_ring_file is not None
    ring = json.loads(config.key_ring_file.read_text())
    del ring["keys"]["k1"]
    config.key_ring_file.write_text(json.dumps(ring))
    async with service.management.connection() as connection:
        await service.keys.refresh(connection)

    shown = {key.key_id: key for key in await service.secrets.keys.keys()}

    assert not shown["k1"].is_present
    assert shown["k1"].secret_count > 0
    with pytest.raises(DecryptionFailed):
        await service.connections.resolve("runs", "acme")


def with_vault(config: Config, address: str, folder: Path) -> Config:
    token = folder / "token"
    token.write_text("s.right")
    token.chmod(0o600)
    return replace(config, key_management=VaultConfig(address, "transit", "nagaya", token, ""))


async def test_secrets_move_from_the_file_to_a_key_service_and_its_keys_are_exchanged(
    config: Config, management: asyncpg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenant.app.key_source.ANNOUNCED_SECONDS", 1.0)
    async with started(config) as service:
        await publish_both(service)
        await service.tenants.create("acme", "r1", "Acme")
        before = await service.connections.resolve("runs", "acme")
    async with running_vault() as vault:
        of_vault = with_vault(config, vault.address, tmp_path)
        async with started(of_vault) as service:
            first = service.keys.ring.active
            moved = await rotated(service, "one")
            second = moved.result["active_key"]
            assert set(moved.result["unused_keys"].split(", ")) == {"k1", first}
            assert (await counts(management)).keys() == {second}
        async with started(replace(of_vault, key_ring_file=None)) as service:
            after = await service.connections.resolve("runs", "acme")
    assert before.password == after.password
    wrapped = await management.fetch("SELECT wrapped FROM data_keys")
    assert len(wrapped) == 2
    assert all(row["wrapped"].startswith("vault:v1:") for row in wrapped)


async def test_a_rotation_that_a_newer_one_has_overtaken_ends_with_the_newer_key(
    config: Config, management: asyncpg.Connection, tmp_path: Path
) -> None:
    async with (
        running_vault() as vault,
        started(with_vault(config, vault.address, tmp_path)) as service,
    ):
        await publish_both(service)
        await service.tenants.create("acme", "r1", "Acme")
        async with service.management.transaction() as connection:
            for key_id in ("older", "newer"):
                await service.keys.create(connection, key_id, 0.0)
            left = await service.operations.begin(
                connection, OperationKind.ROTATE_KEYS, "", "one", {}
            )
            await operation_runs.record_step(
                connection, left.operation_id, "key", {"active_key": "older"}, last=False
            )

        async with asyncio.timeout(60):
            done = await service.runner.run_to_end(left)

        assert done.result["active_key"] == "newer"
    assert (await counts(management)).keys() == {"newer"}


async def test_a_process_waits_for_a_key_service_that_is_away_and_goes_on_without_it_later(
    config: Config, tmp_path: Path
) -> None:
    async with running_vault() as vault:
        vault.status = 503
        starting = asyncio.ensure_future(_resolved(with_vault(config, vault.address, tmp_path)))

        async def was_asked_again() -> bool:
            return len(vault.calls) > 1

        await wait_until(was_asked_again)
        assert not starting.done()
        vault.status = 200
        assert await starting


async def _resolved(config: Config) -> bool:
    async with started(config) as service:
        await publish_both(service)
        await service.tenants.create("acme", "r1", "Acme")
        return bool((await service.connections.resolve("runs", "acme")).password)


async def test_a_data_key_is_used_only_once_every_process_can_have_learned_of_it(
    service: Composition, tmp_path: Path, postgres: PostgresServer
) -> None:
    async with running_vault() as vault, service.management.connection() as connection:
        (tmp_path / "token").write_text("s.right")
        sources = [
            KeySource(
                KeyRing.empty(),
                None,
                VaultTransit(vault.address, "transit", "nagaya", tmp_path / "token"),
                "vault",
            )
            for _ in range(2)
        ]
        for source in sources:
            await source.prepare(connection)
        database = await connection.fetchval("SELECT current_database()")
        superuser = await asyncpg.connect(postgres.superuser_url(database))
        await sources[0].create(connection, "d2", 3600)
        for source in sources:
            await source.refresh(connection)
        assert [source.ring.active == "d2" for source in sources] == [False, False]
        assert all("d2" in source.ring.key_ids for source in sources)
        await superuser.execute("UPDATE data_keys SET active_from = now() WHERE key_id = 'd2'")
        await superuser.close()
        await sources[0].refresh(connection)
        assert sources[0].ring.active == "d2"
        secret = sources[0].ring.encrypt("secret", "somewhere")
        assert sources[1].ring.decrypt(secret, "somewhere") == "secret"
        for source in sources:
            await source.stop()
