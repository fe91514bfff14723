"""What processes are told by manifests, units and compose files, and what they would say of it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import artifacts.config
import llm_gateway.config
import runs.config
import tenant.config
from servicekit.settings import Environment, SettingsInvalid
from tls.authority import CertificateAuthority

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PROCESSES: Mapping[str, Callable[[Environment], object]] = {
    "tenant": tenant.config.Config.from_environment,
    "artifacts": artifacts.config.Config.from_environment,
    "llm-gateway": llm_gateway.config.Config.from_environment,
    "runs": runs.config.Config.from_environment,
    "runs-worker": runs.config.WorkerConfig.from_environment,
}
PEERS: Mapping[str, tuple[str, ...]] = {
    "tenant": ("artifacts", "llm-gateway", "runs"),
    "artifacts": ("tenant",),
    "llm-gateway": ("tenant", "artifacts", "llm-gateway"),  # another process of its own
    "runs": ("tenant", "artifacts", "llm-gateway"),
    "runs-worker": ("tenant", "artifacts", "llm-gateway"),
}
"""Whom each calls."""


def problems(process: str, variables: Mapping[str, str]) -> list[str]:
    """Return what a process says of its settings at its start, where the files have been made."""
    with tempfile.TemporaryDirectory() as folder:
        made = {name: _with_file(Path(folder), value) for name, value in variables.items()}
        environment = Environment(made)
        PROCESSES[process](environment)
        try:
            environment.done()
        except SettingsInvalid as error:
            return error.problems
    return []


def _with_file(folder: Path, value: str) -> str:
    """Make the file that a setting names, and return where; other values as they are."""
    if not value.startswith(("/run/", "/etc/")):
        return value
    path = folder / value.removeprefix("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    authority = CertificateAuthority.create("test")
    own = authority.issue(["test"])
    contents = {
        "ca.crt": authority.certificate,
        "pg-url": b"postgresql://nagaya_provisioner:x@postgres/nagaya",
    }
    if path.name in ("tls.crt", "tls.key"):  # a pair
        path.with_name("tls.crt").write_bytes(own.certificate)
        path.with_name("tls.key").write_bytes(own.key)
    else:
        path.write_bytes(contents.get(path.name, b"x"))
    for file in path.parent.iterdir():
        file.chmod(0o600)
    return str(path)


def unread(process: str, variables: Mapping[str, str]) -> set[str]:
    """Return the variables that a process does not read."""
    environment = Environment(variables)
    PROCESSES[process](environment)
    known = {setting.name for setting in environment.settings}
    return {name for name in variables if name not in known and name[:-5] not in known}
