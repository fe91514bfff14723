"""A backup is restored as docs/tenant/backups.md says, by pg_restore and cp alone."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg
from tests.integration.tenant.backup_stack import INSTALLATION
from tests.support.tenant_rows import content

from nagaya_local.parts.wheels import packaged_binaries

if TYPE_CHECKING:
    from tests.integration.tenant.backup_stack import BackupStack


PAGE = Path(__file__).resolve().parents[3] / "docs" / "tenant" / "backups.md"


def _script() -> str:
    """Return the shell commands of the page."""
    (script,) = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return str(script)


async def test_a_backup_is_read_with_standard_tools(stack: BackupStack) -> None:
    tenant_id = await stack.created()
    files = await stack.filled(tenant_id)
    before = await stack.content(tenant_id)
    backup_id = await stack.back_up(tenant_id)
    (folder,) = (path for path in stack.folder.iterdir() if path.name.startswith(tenant_id))
    name = f"restored_{secrets.token_hex(4)}"
    script = _script().replace("acme-20261130081500", str(folder)).replace("restored", name)
    superuser = urlsplit(stack.postgres.superuser_url())

    process = await asyncio.create_subprocess_exec(
        "sh",
        "-eu",
        "-c",
        script,
        env={
            "PATH": f"{packaged_binaries()}:{os.environ['PATH']}",
            "ID": backup_id,
            "PGHOST": "127.0.0.1",
            "PGPORT": str(superuser.port),
            "PGUSER": str(superuser.username),
            "PGPASSWORD": str(superuser.password),
        },
    )
    assert await process.wait() == 0

    connection = await asyncpg.connect(stack.postgres.superuser_url(name))
    try:
        assert await content(connection, without=INSTALLATION) == before
        assert await connection.fetchval("SELECT tenant_id FROM tenant_identity") == tenant_id
    finally:
        await connection.close()
    found = folder / "files"
    assert {
        path.relative_to(found).as_posix(): path.read_bytes()
        for path in found.rglob("*")
        if path.is_file()
    } == files
