"""Check, before anything is started, that this machine has what the stack needs."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from nagaya_local.errors import PreflightFailed
from nagaya_local.parts.postgres_account import ServerAccount
from nagaya_local.parts.wheels import packaged_binaries, packaged_envoy, packaged_rclone

if TYPE_CHECKING:
    from nagaya_local.clone.choices import Choices
    from nagaya_local.clone.layout import Layout

DISK_BYTES = 1024**3


def check_machine(layout: Layout, choices: Choices) -> None:
    """Raises PreflightFailed with the first thing that is missing."""
    layout.data.mkdir(parents=True, exist_ok=True)
    layout.data.chmod(0o700)  # keys, tokens, passwords
    free = shutil.disk_usage(layout.data).free
    if free < DISK_BYTES:
        raise PreflightFailed(
            f"{free // 1024**2:,} MiB are free on the disk of {layout.data}", "Free 1 GiB at least."
        )
    if choices.pg_url is None:
        packaged_binaries()
        ServerAccount.choose(layout.postgres)
    if choices.s3 is None:
        packaged_rclone()
    packaged_envoy()
