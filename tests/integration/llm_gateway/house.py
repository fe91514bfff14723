"""The gateway as it runs: its own processes beside the real tenant and artifacts services, real
PostgreSQL and S3, and the provider stub in a process of its own, whose call log is the judge.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from nagaya_local.machine.ports import free_port
from servicekit.channel import open_channel
from servicekit.testing import ISSUER, Keys

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from nagaya_local.parts.postgres import PostgresServer
    from nagaya_local.parts.s3 import S3Server

ROOT = Path(__file__).parents[3]
SCRIPTED = {name: f"scripted-{name}" for name in ("claude", "responses", "chat", "gemini")}
"""The provider of each wire format that the fixture `scripted` plays; its only model has its id."""
PROVIDER_KEYS = {
    name: f"key-of-{name}-CANARY" for name in ("claude", "gemini", "openai", *SCRIPTED.values())
}
_START_SECONDS = 30.0


class Process:
    """A program that is running; its standard error is kept."""

    def __init__(self, name: str, command: list[str], log: Path, env: Mapping[str, str]) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._env = {**os.environ, **env}
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._popen is not None
        return self._popen.pid

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                self._command, env=self._env, stdout=subprocess.PIPE, stderr=log
            )

    def first_line(self) -> str:
        assert self._popen is not None
        assert self._popen.stdout is not None
        return self._popen.stdout.readline().decode()

    def running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    def kill(self) -> None:
        """Kill it with -9, as a crash would."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def stop(self) -> None:
        if self.running():
            os.kill(self.pid, signal.SIGTERM)
            self.wait()

    def wait(self) -> None:
        """Return when it has ended, at its own will or after 20 seconds."""
        assert self._popen is not None
        try:
            self._popen.wait(20)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        if self._popen.stdout is not None:
            self._popen.stdout.close()


class Server(Process):
    """A service on a port of its own, which stays the same when it is started again."""

    def __init__(self, name: str, module: str, house: House, env: Mapping[str, str]) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        common = {
            "NAGAYA_LISTEN": self.address,
            "NAGAYA_DRAIN_SECONDS": "0",
            "NAGAYA_JWKS_FILE": str(house.keys.jwks_file),
            "NAGAYA_TOKEN_ISSUER": ISSUER,
        }
        command = [sys.executable, "-m", module]
        super().__init__(name, command, house.folder / f"{name}.log", {**common, **env})

    def start(self) -> None:
        super().start()
        self._wait_until_serving()

    def _wait_until_serving(self) -> None:
        until = time.monotonic() + _START_SECONDS
        with grpc.insecure_channel(self.address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            while time.monotonic() < until and self.running():
                try:
                    answer = stub.Check(  # pyright: ignore[reportAttributeAccessIssue] - its stub is of grpc.aio
                        health_pb2.HealthCheckRequest(), timeout=1.0
                    )
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        return
                except grpc.RpcError:
                    pass
                time.sleep(0.05)  # another process's health is nothing to wait on
        lines = self.log.read_text().splitlines()[-20:]
        raise RuntimeError("\n".join([f"{self.name} does not serve", *lines]))


class Stub(Process):
    """The provider stub. `calls` reads its own log."""

    def __init__(self, folder: Path) -> None:
        self.calls_file = folder / "calls.jsonl"
        command = [sys.executable, "-m", "llmstub", "--listen", "127.0.0.1:0"]
        command += ["--latency-ms", "0", "--chunk-ms", "0", "--log-bodies"]
        command += ["--calls-file", str(self.calls_file)]
        super().__init__("llmstub", command, folder / "llmstub.log", {})
        self.url = ""

    def start(self) -> None:
        super().start()
        self.url = json.loads(self.first_line())["url"]

    def calls(self, run_id: str, **wait: int) -> list[dict[str, Any]]:
        """Return the generate calls made for a run, oldest first."""
        query = "&".join(f"{name}={value}" for name, value in wait.items())
        answer = self._ask("GET", f"/stub/calls?kind=generate&{query}")
        return [c for c in answer["calls"] if (c["idempotency"] or "").startswith(run_id)]

    def script(self, contains: str, action: Mapping[str, object], **rule: object) -> str:
        """Let calls whose prompt contains a word meet a fault; return the rule's name."""
        name = secrets.token_hex(6)
        match = {"contains": contains, **{k: rule.pop(k) for k in ("nth",) if k in rule}}
        rules = [{"name": name, "match": match, "action": dict(action), **rule}]
        self._ask("POST", "/stub/script", rules)
        return name

    def wait_until_held(
        self, rule: str, count: int = 1, *, until: Callable[[], bool] = lambda: False
    ) -> None:
        """Return when so many calls are held by a rule, or when `until` says that none will be."""
        last = time.monotonic() + 20
        while time.monotonic() < last and not until():
            rules = self._ask("GET", "/stub/script")["rules"]
            if any(each["name"] == rule and each["held"] >= count for each in rules):
                return
            time.sleep(0.02)  # the stub is another process
        if not until():
            raise AssertionError(f"no call is held by {rule}")

    def release(self, rule: str) -> None:
        self._ask("POST", "/stub/release", {"rule": rule})

    def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=30)
        connection.request(method, path, None if body is None else json.dumps(body))
        answer = json.load(connection.getresponse())
        connection.close()
        return answer


@dataclass
class House:
    """Everything that one test process starts, once."""

    folder: Path
    postgres: PostgresServer
    s3: S3Server
    management_url: str
    keys: Keys = field(init=False)
    processes: list[Process] = field(default_factory=list)
    gateways: tuple[Server, ...] = ()
    databases: dict[str, str] = field(default_factory=dict)
    """By tenant."""

    def __post_init__(self) -> None:
        self.keys = Keys(self.folder)
        self.keys_file = self._secret("provider-keys.json", PROVIDER_KEYS)
        ring = {"active": "k1", "keys": {"k1": base64.b64encode(secrets.token_bytes(32)).decode()}}
        self.ring_file = self._secret("keyring.json", ring)
        self.tenant = Server("tenant", "tenant", self, self._tenant_env())
        self.artifacts = Server("artifacts", "artifacts", self, self._artifacts_env())
        self.stub = Stub(self.folder)

    @property
    def management_name(self) -> str:
        return self.management_url.rpartition("/")[2]

    def gateway(self, name: str = "llm-gateway", **env: str) -> Server:
        """Prepare one more process of the gateway."""
        settings = {
            "NAGAYA_TENANT_ADDRESS": self.tenant.address,
            "NAGAYA_ARTIFACTS_ADDRESS": self.artifacts.address,
            "NAGAYA_WORKLOAD_KEY_FILE": str(self.keys.key_file("llm-gateway")),
            "NAGAYA_PROVIDER_KEYS_FILE": str(self.keys_file),
            "NAGAYA_PROVIDER_HTTP_HOSTS": "127.0.0.1",
            "NAGAYA_LEASE_SECONDS": "2",
            "NAGAYA_SHUTDOWN_GRACE_SECONDS": "2",
            "NAGAYA_RETRY_RESERVE": "1000",
            **env,
        }
        server = Server(name, "llm_gateway", self, settings)
        self.processes.append(server)
        return server

    def start(self, process: Process) -> None:
        process.start()
        self.processes.append(process)

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.stop()

    def person(self, server: Server) -> grpc.aio.Channel:
        """Open a channel as a person who may do everything."""
        return open_channel(server.address, None, self.keys.token())

    def workload(self, server: Server, name: str) -> grpc.aio.Channel:
        return open_channel(server.address, self.keys.signer(name))

    async def database(self, name: str) -> asyncpg.Connection[asyncpg.Record]:
        """Look into a database as a superuser."""
        return await asyncpg.connect(self.postgres.superuser_url(name))

    def _secret(self, name: str, content: object) -> Path:
        path = self.folder / name
        path.write_text(json.dumps(content))
        path.chmod(0o600)
        return path

    def _tenant_env(self) -> dict[str, str]:
        return {
            "NAGAYA_WORKLOAD_KEY_FILE": str(self.keys.key_file("tenant")),
            "NAGAYA_PG_URL": self.management_url,
            "NAGAYA_KEYRING_FILE": str(self.ring_file),
            "NAGAYA_REQUIRED_SERVICES": "runs,llm-gateway",
            # Two gateways stay, tests start up to two more, and a killed one's connections last.
            "NAGAYA_PROCESSES_PER_SERVICE": "5",
            "NAGAYA_CONNECTIONS_PER_ROLE": "50",
        }

    def _artifacts_env(self) -> dict[str, str]:
        return {
            "NAGAYA_WORKLOAD_KEY_FILE": str(self.keys.key_file("artifacts")),
            "NAGAYA_TENANT_ADDRESS": self.tenant.address,
            "S3_ENDPOINT": self.s3.endpoint,
            "S3_ACCESS_KEY": self.s3.keys.access_key,
            "S3_SECRET_KEY": self.s3.keys.secret_key,
        }


@contextmanager
def running(server: Server) -> Generator[Server]:
    """Run a server inside the block."""
    server.start()
    try:
        yield server
    finally:
        server.stop()


def new_run_id() -> str:
    return str(uuid.uuid4())
