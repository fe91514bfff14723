"""CPU of the interceptor in a call without I/O, beside a bare grpc.aio echo.

    python -m bench.overhead [--calls 3000] [--rounds 15]

Both servers run uvloop and the same handler, each in a process of its own, and are measured in
alternation by their own getrusage; the load comes from a third process. The full one verifies a
token, checks policy, tenant, deadline, limits and field rules, and writes log line and metrics.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import uvloop

from authentication.verifier import Verifier
from bench.goals import Goals, ratio, spread
from bench.measure import in_turn
from interceptor.server import Binding, Server
from nagaya.tenant.v1 import tenant_pb2
from nagaya.tenant.v1 import tenant_service_pb2 as pb
from servicekit import process, telemetry
from servicekit.settings import ServerConfig
from servicekit.testing import ISSUER, Keys

if TYPE_CHECKING:
    from interceptor.server import Context

SERVICE = "nagaya.tenant.v1.TenantService"
METHOD = f"/{SERVICE}/GetTenant"
GOAL = 1.5
CHANNELS = 4
STREAMS = 8


async def echo(request: pb.GetTenantRequest, context: Context) -> pb.GetTenantResponse:
    return pb.GetTenantResponse(tenant=tenant_pb2.Tenant(tenant_id=request.tenant_id))


HANDLERS: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
    "GetTenant": grpc.unary_unary_rpc_method_handler(
        echo,
        request_deserializer=pb.GetTenantRequest.FromString,
        response_serializer=pb.GetTenantResponse.SerializeToString,
    )
}


async def serve(kind: str, jwks_file: Path) -> None:
    """Serve; print the port, then this process's CPU seconds whenever a line comes in."""
    if kind == "bare":
        bare = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        bare.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, HANDLERS),))
        port = bare.add_insecure_port("127.0.0.1:0")
        await bare.start()
    else:
        config = ServerConfig(
            listen_host="127.0.0.1",
            listen_port=0,
            metrics_port=0,
            drain_seconds=0.0,
            connection_age_seconds=1800.0,
            reflection=False,
            jwks_file=jwks_file,
            issuer=ISSUER,
            workload_key_file=jwks_file,
            otlp_endpoint=None,
            log_level="info",
        )
        telemetry.start("tenant", config)
        binding = Binding(SERVICE, HANDLERS, 1 << 20)
        full = Server(config, [binding], Verifier.from_file(jwks_file, ISSUER))
        port = await full.start()
    print(port, flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        usage = resource.getrusage(resource.RUSAGE_SELF)
        print(usage.ru_utime + usage.ru_stime, flush=True)


async def load(port: int, token: str, calls: int) -> None:
    """Call `calls` times, 32 at once over 4 connections."""
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    request = pb.GetTenantRequest(tenant_id="acme")
    channels = [
        grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.channel_id", n)])
        for n in range(CHANNELS)
    ]

    async def client(channel: grpc.aio.Channel) -> None:
        call = channel.unary_unary(
            METHOD,
            request_serializer=pb.GetTenantRequest.SerializeToString,
            response_deserializer=pb.GetTenantResponse.FromString,
        )
        for _ in range(calls // (CHANNELS * STREAMS)):
            await call(request, metadata=metadata)

    await asyncio.gather(*(client(channel) for channel in channels for _ in range(STREAMS)))
    await asyncio.gather(*(channel.close() for channel in channels))


class Subject:
    """A server process being measured."""

    def __init__(self, kind: str, jwks_file: Path, token: str) -> None:
        self._token = token
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.overhead", "--serve", kind, "--jwks", str(jwks_file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.port = int(self._read())

    def cost(self, calls: int) -> float:
        """Return the CPU microseconds of one call."""
        before = self._cpu_seconds()
        arguments = ["--load", str(self.port), "--token", self._token, "--calls", str(calls)]
        subprocess.run([sys.executable, "-m", "bench.overhead", *arguments], check=True)
        return (self._cpu_seconds() - before) / calls * 1e6

    def end(self) -> None:
        self._process.kill()
        self._process.wait()

    def _cpu_seconds(self) -> float:
        if self._process.stdin is not None:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        return float(self._read())

    def _read(self) -> str:
        return "" if self._process.stdout is None else self._process.stdout.readline()


def compare(calls: int, rounds: int, goals: Goals) -> None:
    """Measure both in turn, in the opposite order every other round."""
    with tempfile.TemporaryDirectory() as folder:
        keys = Keys(Path(folder))
        subjects = {
            "bare": Subject("bare", keys.jwks_file, ""),
            "full": Subject("full", keys.jwks_file, keys.token(tenants=["acme"])),
        }
        costs: dict[str, list[float]] = {kind: [] for kind in subjects}
        try:
            for subject in subjects.values():
                subject.cost(calls // 4)
            for number in range(rounds):
                for kind, subject in in_turn(tuple(subjects.items()), number):
                    costs[kind].append(subject.cost(calls))
        finally:
            for subject in subjects.values():
                subject.end()
    full, bare = costs["full"], costs["bare"]
    cells = (spread(full, "us", 0), f"bare {spread(bare, 'us', 0)}")
    goals.at_most("CPU of the interceptor in a call", ratio(full, bare), GOAL, *cells)


def main() -> int:
    parser = argparse.ArgumentParser(description="What the interceptor costs, beside a bare echo.")
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--serve", choices=["bare", "full"], help=argparse.SUPPRESS)
    parser.add_argument("--jwks", type=Path, default=Path(), help=argparse.SUPPRESS)
    parser.add_argument("--load", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--token", default="", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        process.run(asked.serve, lambda: serve(asked.serve, asked.jwks))
    elif asked.load:
        uvloop.run(load(asked.load, asked.token, asked.calls))
    else:
        goals = Goals()
        compare(asked.calls, asked.rounds, goals)
        return goals.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
