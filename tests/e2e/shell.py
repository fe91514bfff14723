"""The command, as a script uses it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.stack import LocalStack

NAGAYA = Path(sys.executable).with_name("nagaya")


@dataclass(frozen=True)
class Done:
    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True)
class Shell:
    """A shell in the folder of the stack, where a tenant is the default."""

    stack: LocalStack
    tenant: str

    def run(self, *arguments: str, given: str = "", settings: Mapping[str, str] = {}) -> Done:
        own = {"NAGAYA_TENANT": self.tenant}
        done = subprocess.run(
            [NAGAYA, *arguments],
            cwd=self.stack.layout.root,
            env=os.environ | own | dict(settings),
            input=given.encode(),
            capture_output=True,
            check=False,
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def open_shell(stack: LocalStack) -> Shell:
    """Create a tenant, and return a shell for it."""
    shell = Shell(stack, f"cli-{uuid.uuid4().hex[:8]}")
    created = shell.run("tenant", "create", shell.tenant, "--name", "町家の宿", "-o", "json")
    assert created.status == 0, created.err
    assert json.loads(created.out)["tenant"]["state"] == "TENANT_STATE_ACTIVE"
    return shell
