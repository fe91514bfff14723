"""`python -m artifacts`: its start, alone and with what it needs missing."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.support.waiting import wait_until

from nagaya_local.machine.ports import free_port
from servicekit.testing import ISSUER, Keys

if TYPE_CHECKING:
    from pathlib import Path

    from artifacts.config import StoreConfig


@pytest.fixture
def settings(keys: Keys, store: StoreConfig) -> dict[str, str]:
    """What the process needs; its peer tenant is away."""
    return {
        "NAGAYA_LISTEN": f"127.0.0.1:{free_port()}",
        "NAGAYA_TENANT_ADDRESS": f"127.0.0.1:{free_port()}",
        "NAGAYA_JWKS_FILE": str(keys.jwks_file),
        "NAGAYA_TOKEN_ISSUER": ISSUER,
        "NAGAYA_WORKLOAD_KEY_FILE": str(keys.key_file("artifacts")),
        "NAGAYA_DRAIN_SECONDS": "0",
        "S3_ENDPOINT": store.endpoint,
        "S3_ACCESS_KEY": store.access_key,
        "S3_SECRET_KEY": store.secret_key,
    }


async def test_all_settings_that_are_wrong_are_reported_at_once(tmp_path: Path) -> None:
    wrong = {"S3_ENDPOINT": "127.0.0.1:9000", "NAGAYA_BUCKET": "A/B", "NAGAYA_COLLECT_SECONDS": "x"}
    process = await _start(wrong, tmp_path / "log")

    assert await process.wait() == 1
    reported = (tmp_path / "log").read_text()
    for name in (*wrong, "S3_ACCESS_KEY", "NAGAYA_TENANT_ADDRESS", "NAGAYA_LISTEN"):
        assert name in reported


async def test_without_the_store_it_is_up_not_serving_and_says_what_it_waits_for(
    settings: dict[str, str], tmp_path: Path
) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    process = await _start(settings | {"S3_ENDPOINT": endpoint}, tmp_path / "log")
    line = await _logged(process, tmp_path / "log", "waits_for")

    assert json.loads(line)["waits_for"] == f"S3 at {endpoint}"
    assert await _health(settings["NAGAYA_LISTEN"]) == health_pb2.HealthCheckResponse.NOT_SERVING
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0


async def test_without_tenant_it_is_up_not_serving_and_says_what_it_waits_for(
    settings: dict[str, str], tmp_path: Path
) -> None:
    process = await _start(settings, tmp_path / "log")
    await _logged(process, tmp_path / "log", "the object store can be used")
    line = await _logged(process, tmp_path / "log", "the migrations cannot be published yet")

    assert json.loads(line)["waits_for"] == "tenant"
    assert await _health(settings["NAGAYA_LISTEN"]) == health_pb2.HealthCheckResponse.NOT_SERVING
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0


async def test_a_wrong_key_of_the_store_is_reported(
    settings: dict[str, str], tmp_path: Path
) -> None:
    process = await _start(settings | {"S3_SECRET_KEY": "not the one"}, tmp_path / "log")
    line = await _logged(process, tmp_path / "log", "waits_for")

    assert "refused" in json.loads(line)["why"]
    process.kill()
    await process.wait()


async def _start(settings: dict[str, str], log: Path) -> asyncio.subprocess.Process:
    with log.open("wb") as stderr:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "artifacts", env=settings, stderr=stderr
        )


async def _logged(process: asyncio.subprocess.Process, log: Path, text: str) -> str:
    """Return the first line that holds a text, once it is there."""

    async def found() -> str | None:
        lines = (await asyncio.to_thread(log.read_text)).splitlines()
        return next((line for line in lines if text in line), None)

    def ended() -> str:
        return "" if process.returncode is None else f"it has ended: {log.read_text()}"

    return await wait_until(found, unless=ended)


async def _health(address: str) -> int:
    async with grpc.aio.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        check = stub.Check  # pyright: ignore[reportAttributeAccessIssue] - the types lack it
        return (await check(health_pb2.HealthCheckRequest(), wait_for_ready=True)).status
