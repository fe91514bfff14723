"""The Temporal development server, tuned: with its defaults every step costs 50 ms and more."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, cast

import grpc

from nagaya_local.errors import NotReady, Unresponsive
from nagaya_local.machine.programs import Command, Stopping
from nagaya_local.parts.health import CHANNEL_OPTIONS, require_listener, transport_error
from nagaya_local.parts.temporal_binary import find_temporal
from nagaya_local.parts.wheels import packaged_temporal
from tls.address import ServerAddress
from tls.credentials import open_channel

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nagaya_local.parts.temporal_binary import TemporalBinary

NAMESPACE = "default"

_DYNAMIC_CONFIG = {
    # A default server reads the transfer queue 20 times a second: a run of three activities takes
    # 200 ms on server 1.32 instead of 50 to 70.
    "history.transferProcessorMaxPollRPS": "2000",
    # Tasks of one queue are handed out by turns among tenants: the fairness key of a run's start,
    # which its activities inherit. Exact with one partition only.
    "matching.enableFairness": "true",
    "matching.numTaskqueueReadPartitions": "1",
    "matching.numTaskqueueWritePartitions": "1",
    # When a build of the worker that has nothing left to do is known to be so: minutes otherwise.
    "matching.wv.VersionDrainageStatusVisibilityGracePeriod": '"2s"',
    "matching.wv.VersionDrainageStatusRefreshInterval": '"2s"',
    # The last limit that keeps bodies out of histories. Not tighter: the server's own workflows
    # (schedules, batches) live in the same namespace.
    "limit.blobSize.warn": "65536",
    "limit.blobSize.error": "131072",
    "limit.historySize.error": "10485760",
}
_SECONDS = 5.0
_PRAGMAS = {
    "journal_mode": "WAL",
    "synchronous": "NORMAL",
    # What is deleted is overwritten, and the log is cut once its pages are in the database: nothing
    # of a purged tenant stays in free space.
    "secure_delete": "ON",
    "journal_size_limit": "0",
}

_DESCRIBE_NAMESPACE = "/temporal.api.workflowservice.v1.WorkflowService/DescribeNamespace"


class TemporalServer:
    """A server whose histories lie in `folder`; with `ui_port` it shows them in a browser.

    `settings` are dynamic configuration beyond what every server of Nagaya has.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        ui_port: int | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._binary: TemporalBinary | None = None
        self._folder = folder
        self._port = port
        self._ui_port = ui_port
        self._settings = {**_DYNAMIC_CONFIG, **(settings or {})}

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def database(self) -> Path:
        return self._folder / "temporal.db"

    @property
    def stopping(self) -> Stopping:
        return Stopping(seconds=20.0)

    async def prepare(self) -> None:
        """Find the binary. Raises TemporalMissing."""
        self._folder.mkdir(parents=True, exist_ok=True)
        note = self._folder / "server-version.json"
        written_by = _version(json.loads(note.read_text())) if self.database.exists() else None
        self._binary = await find_temporal(packaged_temporal(), written_by)
        note.write_text(json.dumps(self._binary.server))

    def command(self) -> Command:
        assert self._binary is not None, "prepare() finds the binary"  # noqa: S101
        interface = ("--headless",) if self._ui_port is None else ("--ui-port", str(self._ui_port))
        return Command(
            (
                str(self._binary.path), "server", "start-dev",
                "--ip", "127.0.0.1", "--port", str(self._port), *interface,
                "--db-filename", str(self.database),
                *_repeated("--sqlite-pragma", _PRAGMAS),
                *_repeated("--dynamic-config-value", self._settings),
                "--log-level", "error", "--log-format", "json",
            ),
            self._folder,
            {"TEMPORAL_CONFIG_FILE": "/dev/null"},
        )  # fmt: skip

    async def probe(self) -> None:
        await asyncio.to_thread(self._probe)

    def _probe(self) -> None:
        address = ServerAddress.parse(self.address)
        require_listener(address, "temporal")
        describe_namespace(address)


def describe_namespace(
    address: ServerAddress,
    namespace: str = NAMESPACE,
    seconds: float = _SECONDS,
    api_key: str = "",
) -> None:
    """Ask a server for a namespace. Raises NotReady, and Unresponsive."""
    # DescribeNamespaceRequest(namespace=…), serialised: importing the SDK for it takes 1.3 s.
    request = b"\x0a" + bytes([len(namespace)]) + namespace.encode()
    metadata = (("authorization", f"Bearer {api_key}"),) if api_key else ()
    with open_channel(address, CHANNEL_OPTIONS) as channel:
        try:
            describe = cast("Any", channel.unary_unary(_DESCRIBE_NAMESPACE))
            describe(request, timeout=seconds, metadata=metadata)
        except grpc.RpcError as error:
            if reason := transport_error(error):
                raise Unresponsive(f"{address} does not answer ({reason})") from error
            details = error.details() if isinstance(error, grpc.Call) else str(error)
            raise NotReady(f"{address} has no namespace {namespace} ({details})") from error


def _version(numbers: list[int]) -> tuple[int, int]:
    major, minor = numbers
    return major, minor


def _repeated(flag: str, values: dict[str, str]) -> tuple[str, ...]:
    return tuple(word for name, value in values.items() for word in (flag, f"{name}={value}"))
