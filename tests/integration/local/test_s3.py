"""The embedded S3 server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nagaya_local.machine.ports import free_port
from nagaya_local.parts.s3 import S3Server

if TYPE_CHECKING:
    from pathlib import Path


def test_leftovers_of_a_killed_upload_are_swept_and_objects_are_not(tmp_path: Path) -> None:
    step = tmp_path / "s3" / "storage" / "acme" / "run" / "outline"
    step.mkdir(parents=True)
    (step / "output.json").write_text("{}")
    (step / ".rclone_temp_put_123").write_text("half")

    S3Server(tmp_path / "s3", tmp_path / "keys.json", free_port()).remove_leftovers()

    assert [path.name for path in step.iterdir()] == ["output.json"]


async def test_the_keys_are_private_and_stay(tmp_path: Path) -> None:
    server = S3Server(tmp_path / "s3", tmp_path / "keys.json", free_port())

    assert server.keys == S3Server(tmp_path / "s3", tmp_path / "keys.json", free_port()).keys
    assert (tmp_path / "keys.json").stat().st_mode & 0o777 == 0o600
    assert server.keys.secret_key not in " ".join(server.command().argv)
