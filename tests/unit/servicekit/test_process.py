"""What the processes of all services do when they are started wrongly, and when they end."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from servicekit.testing import ISSUER

if TYPE_CHECKING:
    from pathlib import Path

    from servicekit.testing import Keys

PROCESSES = {
    "tenant": "tenant",
    "artifacts": "artifacts",
    "llm-gateway": "llm_gateway",
    "runs": "runs",
    "runs-worker": "runs.worker",
}


def refusal(module: str, settings: dict[str, str]) -> str:
    """Start a process that is to be refused; return what it says."""
    ended = subprocess.run(
        [sys.executable, "-m", module],
        env=settings,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    return ended.stderr


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_without_settings_names_itself_and_all_that_is_missing(name: str) -> None:
    output = refusal(PROCESSES[name], {})

    assert output.startswith(f"{name}: the settings are not right:\n")
    for variable in ("NAGAYA_JWKS_FILE", "NAGAYA_WORKLOAD_KEY_FILE"):
        assert f"  {variable} is not set: " in output
    verifies = name != "runs-worker"
    assert ("  NAGAYA_OIDC_ISSUER is not set, nor NAGAYA_TOKEN_ISSUER: " in output) is verifies


def test_a_key_file_that_holds_no_key_is_reported_without_its_content(
    keys: Keys, tmp_path: Path
) -> None:
    wrong = tmp_path / "runs.pem"
    wrong.write_text("-----BEGIN PRIVATE KEY-----\nsecret\n")
    wrong.chmod(0o600)

    output = refusal(
        "runs", settings(keys, "127.0.0.1:0") | {"NAGAYA_WORKLOAD_KEY_FILE": str(wrong)}
    )

    assert output == f"runs: {wrong} holds no Ed25519 or EC private key (PEM, no password)\n"


def test_a_file_that_holds_no_public_keys_is_reported(keys: Keys, tmp_path: Path) -> None:
    wrong = tmp_path / "jwks.json"
    wrong.write_text("{")

    output = refusal("runs", settings(keys, "127.0.0.1:0") | {"NAGAYA_JWKS_FILE": str(wrong)})

    assert f"runs: {wrong} holds no public keys (JWKS): " in output


def test_a_port_that_is_taken_ends_the_process_with_one_sentence(keys: Keys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        output = refusal("runs", settings(keys, address))

    assert f"runs: cannot listen on {address}: is the port taken?\n" in output


def test_a_metrics_port_that_is_taken_is_reported_like_any_other(keys: Keys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        output = refusal("runs", settings(keys, "127.0.0.1:0") | {"NAGAYA_METRICS_PORT": port})

    assert output == f"runs: no metrics on port {port}: Address already in use\n"


def test_a_peer_that_stays_away_is_not_logged_every_second(keys: Keys) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "runs"],
        env=settings(keys, "127.0.0.1:0"),
        stderr=subprocess.PIPE,
        text=True,
    )
    awaited = {"the migrations cannot be published yet", "the registry of tenants is away"}
    warnings: list[str] = []
    assert process.stderr is not None
    while not awaited <= set(warnings):
        line = json.loads(process.stderr.readline())
        warnings += [line["message"]] if line["level"] == "warning" else []
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(5)  # long enough for some tries
    process.terminate()
    lines = [json.loads(line) for line in process.communicate(timeout=30)[1].splitlines()]

    warnings += [line["message"] for line in lines if line["level"] == "warning"]
    assert sorted(warnings) == sorted(awaited)


def test_a_worker_that_waits_for_the_others_says_so_in_its_log_and_can_be_ended(
    keys: Keys,
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "runs.worker"],
        env=settings(keys, "127.0.0.1:0"),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    first = process.stderr.readline()
    process.terminate()
    output = process.communicate(timeout=30)[1].splitlines()

    waiting, last = json.loads(first), json.loads(output[-1])
    assert (waiting["service"], waiting["level"]) == ("runs-worker", "warning")
    assert last["message"] == "stopped before there was anything to do"
    assert process.returncode == 0


WITH_A_THREAD = """
import asyncio, logging, threading
from servicekit import logs
from servicekit.process import run

async def serve():
    logs.start("probe", "info")
    threading.Thread(target=threading.Event().wait).start()
    print("on standard output")
    logging.getLogger("probe").info("the last line")

run("probe", serve)
"""


def test_a_process_ends_with_all_its_output_whatever_threads_a_library_leaves() -> None:
    program = [sys.executable, "-c", WITH_A_THREAD]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)

    assert (ended.returncode, ended.stdout) == (0, "on standard output\n")
    assert '"message": "the last line"' in ended.stderr


def settings(keys: Keys, listen: str) -> dict[str, str]:
    """Return what `python -m runs` needs; none of its peers is there."""
    nobody = "127.0.0.1:1"
    return {
        "GRPC_VERBOSITY": "NONE",
        "NAGAYA_LISTEN": listen,
        "NAGAYA_JWKS_FILE": str(keys.jwks_file),
        "NAGAYA_TOKEN_ISSUER": ISSUER,
        "NAGAYA_WORKLOAD_KEY_FILE": str(keys.key_file("runs")),
        "NAGAYA_TENANT_ADDRESS": nobody,
        "NAGAYA_ARTIFACTS_ADDRESS": nobody,
        "NAGAYA_LLM_GATEWAY_ADDRESS": nobody,
        "TEMPORAL_ADDRESS": nobody,
    }
