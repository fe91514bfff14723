"""A bundle vouches for its audit log: one that was changed is not exported."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest
from tests.integration.tenant.tamperings import Log
from tests.support.installation import Installation, Place, installed
from tests.support.transfers import exported, filled

from nagaya.tenant.v1 import operation_pb2
from servicekit.testing import Keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from nagaya_local.parts.postgres import PostgresServer
    from nagaya_local.parts.s3 import S3Server


@pytest.fixture
async def source(
    tmp_path: Path, postgres: PostgresServer, management_url: str, s3: S3Server
) -> AsyncIterator[Installation]:
    folder = tmp_path / "source"
    folder.mkdir()
    bucket = f"source-{secrets.token_hex(4)}"
    place = Place(folder, postgres, management_url, s3, s3._folder, bucket, Keys(folder))
    async with installed(place) as installation:
        yield installation


@pytest.mark.parametrize("rechained", [False, True])
async def test_a_log_that_somebody_has_changed_is_not_exported_until_it_is_as_it_was(
    source: Installation, *, rechained: bool
) -> None:
    tenant, _ = await filled(source)
    assert source.service is not None
    anchor = await source.service.anchors.anchor("acme")
    assert anchor is not None
    superuser = await source.superuser(tenant.database)
    await superuser.execute("SET session_replication_role = replica")
    log = Log(superuser, anchor.sequence)
    await log.save()
    place = 1 + secrets.randbelow(anchor.sequence)
    await log.execute(f"UPDATE audit_logs SET user_id = 'eve' WHERE sequence = {place}")
    if rechained:
        await log.rechain()

    refused = await exported(source)

    assert refused.state == operation_pb2.OPERATION_STATE_FAILED
    assert refused.error.reason == "ERROR_REASON_AUDIT_LOG_ALTERED"
    assert f"from entry {place} on" in refused.error.message
    assert not list(source.place.folder.glob("bundles/exports/*/*"))
    await log.restore()
    await superuser.close()
    assert (await exported(source)).state == operation_pb2.OPERATION_STATE_DONE
