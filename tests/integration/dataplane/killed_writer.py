"""Appends entries as a service does, and dies by SIGKILL right after a commit."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from tests.support.databases import TenantDatabases

from dataplane import audit
from dataplane.audit_chainer import AuditChainer
from dataplane.databases import Databases
from dataplane.tenants import TenantPools
from servicekit.call import acting_as
from servicekit.identity import Principal


async def main(encoded: str, entries: str) -> None:
    made = TenantDatabases.parse(encoded)
    databases = Databases(made.resolve, made.service, 5)
    AuditChainer(databases)
    with acting_as(Principal("ada", None, frozenset({"*"}), frozenset({"*"}))):
        for number in range(int(entries)):
            async with TenantPools(databases).transaction("acme") as connection:
                await audit.append(connection, "prompt.create", "prompt", str(number))
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
