"""deploy/Containerfile: what its steps make of a service starts, says what it lacks, and serves."""

from __future__ import annotations

import base64
import json
import os
import secrets as random
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.containerfile import UID, build
from tests.support.waiting import wait_until

from nagaya_local.errors import NotReady
from nagaya_local.machine.ports import free_port
from nagaya_local.parts.health import probe_grpc_health
from servicekit.testing import ISSUER, Keys
from tls.address import ServerAddress

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from tests.support.containerfile import Stage

CLONE = Path(__file__).resolve().parents[3]
SECRETS = "/run/secrets/nagaya"

pytestmark = pytest.mark.timeout(600)  # it installs the service's third parties from the index


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """The image of tenant."""
    folder = tmp_path_factory.mktemp("image")
    return build(CLONE / "deploy" / "Containerfile", CLONE, {"SERVICE": "tenant"}, folder)


@pytest.fixture
def secrets(tmp_path: Path, management_url: str) -> Path:
    """A folder as Kubernetes mounts one: files of root's that the pod's group may read."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    Keys(folder, ["tenant"])
    key = base64.b64encode(random.token_bytes(32)).decode()
    (folder / "keyring.json").write_text(json.dumps({"active": "k1", "keys": {"k1": key}}))
    (folder / "pg-url").write_text(management_url)
    for file in folder.iterdir():
        os.chown(file, 0, UID)
        file.chmod(0o440)
    return folder


@contextmanager
def _running(
    image: Stage, variables: Mapping[str, str], secrets: Path, log: Path
) -> Generator[subprocess.Popen[bytes]]:
    command = image.command(image.entrypoint, variables, {SECRETS: secrets}, as_user=True)
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_an_image_without_settings_says_all_that_it_lacks(image: Stage) -> None:
    command = image.command(image.entrypoint, {}, {}, as_user=True)

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    lacking = ("NAGAYA_JWKS_FILE", "NAGAYA_WORKLOAD_KEY_FILE",
               "NAGAYA_PG_URL", "NAGAYA_KEYRING_FILE")  # fmt: skip
    assert [name for name in lacking if f"{name} is not set" not in done.stderr] == []
    assert "NAGAYA_LISTEN" not in done.stderr
    assert "Traceback" not in done.stderr


async def test_it_serves_as_any_user_with_nothing_to_write_to(
    image: Stage, secrets: Path, tmp_path: Path
) -> None:
    port, log = free_port(), tmp_path / "tenant.log"
    variables = {
        "NAGAYA_LISTEN": f"127.0.0.1:{port}",
        "NAGAYA_METRICS_PORT": str(free_port()),
        "NAGAYA_DRAIN_SECONDS": "0",
        "NAGAYA_JWKS_FILE": f"{SECRETS}/jwks.json",
        "NAGAYA_TOKEN_ISSUER": ISSUER,
        "NAGAYA_WORKLOAD_KEY_FILE": f"{SECRETS}/tenant.pem",
        "NAGAYA_KEYRING_FILE": f"{SECRETS}/keyring.json",
        "NAGAYA_PG_URL_FILE": f"{SECRETS}/pg-url",
    }
    assert not _is_healthy(image, variables)
    with _running(image, variables, secrets, log) as process:

        async def serves() -> bool:
            try:
                await probe_grpc_health(ServerAddress("127.0.0.1", port), "tenant")
            except NotReady:
                return False
            return True

        def ended() -> str:
            return "" if process.poll() is None else log.read_text()

        await wait_until(serves, unless=ended, seconds=60)

        assert _is_healthy(image, variables)
        assert _user(process.pid) == UID
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def _is_healthy(image: Stage, variables: Mapping[str, str]) -> bool:
    command = image.command(image.healthcheck, variables, {}, as_user=True)
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _user(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def test_it_brings_the_programs_that_make_backups(image: Stage) -> None:
    code = (
        "import subprocess; from tenant.backup_config import packaged_programs;"
        "subprocess.run([packaged_programs() / 'pg_dump', '--version'], check=True)"
    )
    only_its_own = {"PATH": "/opt/nagaya/bin"}
    python = ["/opt/nagaya/bin/python", "-c", code]
    command = image.command(python, only_its_own, {}, as_user=True)

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.stdout.startswith("pg_dump (PostgreSQL) 18."), done.stderr
