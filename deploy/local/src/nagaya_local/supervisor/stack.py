"""The stack as data: its parts with their settings and order."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from nagaya_local.clone import keys, providers
from nagaya_local.clone.certificates import Certificates
from nagaya_local.clone.endpoints import Endpoints
from nagaya_local.clone.tokens import ask_for_tokens
from nagaya_local.envoy.bootstrap import Address, ProxiedService
from nagaya_local.envoy.tls import ProxyTls
from nagaya_local.names import INFRASTRUCTURE, SERVICES, WORKER
from nagaya_local.parts.envoy import EnvoyServer
from nagaya_local.parts.external import probe_postgres, probe_s3, probe_temporal, without_password
from nagaya_local.parts.health import EventLoopProbe, probe_grpc_health, probe_http
from nagaya_local.parts.part import External, Part
from nagaya_local.parts.postgres import PostgresServer
from nagaya_local.parts.s3 import S3Server
from nagaya_local.parts.services import PythonProgram
from nagaya_local.parts.temporal import TemporalServer
from nagaya_local.parts.wheels import packaged_binaries
from nagaya_local.supervisor.provider_addresses import set_provider_addresses
from runs.temporal_config import TemporalConfig
from servicekit.settings import read
from tls.address import ServerAddress

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from nagaya_local.clone.choices import Choices
    from nagaya_local.clone.layout import Layout

# Whom each service asks. A reply that has been paid for is stored through these.
_PEERS: Mapping[str, tuple[str, ...]] = {
    "tenant": (),
    "artifacts": ("tenant",),
    "llm-gateway": ("tenant", "artifacts"),
    "runs": ("tenant", "artifacts", "llm-gateway"),
}
_FINISHES = dict.fromkeys(SERVICES, "the calls under way") | {
    "llm-gateway": "the calls to providers that are under way"
}


class Stack:
    """All parts of one clone's stack on these ports, and where clients find them."""

    def __init__(self, layout: Layout, choices: Choices, ports: Mapping[str, int]) -> None:
        self._layout = layout
        self._choices = choices
        self._ports = ports
        self._keys = keys.Keys(layout.keys)
        self._tls = Certificates(layout.keys, used=choices.tls)
        self._postgres = PostgresServer(layout.postgres, ports["postgres"])
        self._s3 = S3Server(layout.s3, layout.keys / "s3.json", ports["s3"])
        self.endpoints = self._endpoints()

    def prepare(self) -> None:
        """Write keys and settings that several parts read."""
        self._keys.make()
        self._tls.make()
        ask_for_tokens(self._layout, self._choices.token_command)
        providers.write_providers(
            self._layout, self.endpoints.llmstub_url, self._choices.provider_keys
        )

    def parts(self) -> tuple[Part, ...]:
        """Return every part, those first that others use."""
        parts = (
            self._postgres_part(),
            self._s3_part(),
            self._temporal_part(),
            self._stub_part(),
            *(self._service_part(name) for name in SERVICES),
            self._worker_part(),
            self._envoy_part(),
        )
        # External servers are probed first: nothing is started when an address is wrong.
        external = tuple(part.name for part in parts if isinstance(part.program, External))
        return tuple(
            part if part.name in external else replace(part, needs=tuple({*part.needs, *external}))
            for part in parts
        )

    async def finish(self) -> None:
        """Do what needs the running services. Raises LocalError."""
        await set_provider_addresses(self._layout)

    def clean_up(self) -> None:
        """Do what needs the servers to be stopped: at a start it would cost time."""
        self._s3.remove_leftovers()

    def _endpoints(self) -> Endpoints:
        own = self._s3.keys
        s3 = self._choices.s3
        return Endpoints(
            tenant=self._server("envoy-tenant"),
            runs=self._server("envoy-runs"),
            artifacts=self._server("envoy-artifacts"),
            llm_gateway=self._server("envoy-llm-gateway"),
            pg_url=self._choices.pg_url or self._postgres.url,
            s3_endpoint=s3.endpoint if s3 else self._s3.endpoint,
            s3_access_key=s3.access_key if s3 else own.access_key,
            s3_secret_key=s3.secret_key if s3 else own.secret_key,
            temporal=self._choices.temporal_address or self._address("temporal"),
            llmstub_url=f"http://{self._address('llmstub')}",
            ca_file=self._tls.settings()["NAGAYA_CA_FILE"],
        )

    def _postgres_part(self) -> Part:
        url = self._choices.pg_url
        if url is not None:
            shown = without_password(url)
            return _external("postgres", "NAGAYA_PG_URL", shown, lambda: probe_postgres(url))
        return Part("postgres", self._postgres, self._address("postgres"))

    def _s3_part(self) -> Part:
        choice = self._choices.s3
        if choice is not None:
            return _external("s3", "S3_ENDPOINT", choice.endpoint, lambda: probe_s3(choice))
        return Part("s3", self._s3, self._address("s3"))

    def _temporal_part(self) -> Part:
        address = self._choices.temporal_address
        if address is not None:
            config = read(TemporalConfig.from_environment, os.environ)
            return _external(
                "temporal", "TEMPORAL_ADDRESS", address, lambda: probe_temporal(config)
            )
        server = TemporalServer(
            self._layout.temporal,
            self._ports["temporal"],
            self._ports["temporal-ui"],
        )
        shown = f"{server.address}, in a browser http://{self._address('temporal-ui')}"
        return Part("temporal", server, shown)

    def _stub_part(self) -> Part:
        port = self._ports["llmstub"]
        program = PythonProgram(
            "llmstub",
            self._layout.llmstub,
            {},
            lambda: probe_http(port),
            (
                "--listen",
                self._address("llmstub"),
                "--calls-file",
                str(self._layout.llmstub / "calls.jsonl"),
            ),
        )
        return Part("llmstub", program, self.endpoints.llmstub_url)

    def _service_part(self, name: str) -> Part:
        listen = {"NAGAYA_LISTEN": self._address(name)}
        settings = self._common(name) | listen | self._own_settings(name)
        settings |= self._choices.people
        module = name.replace("-", "_")
        address = ServerAddress("127.0.0.1", self._ports[name], self._tls.supervisor)
        program = PythonProgram(
            module, self._layout.data, settings, lambda: probe_grpc_health(address, name)
        )
        return Part(
            name,
            program,
            str(address),
            uses=(*INFRASTRUCTURE, *_PEERS[name]),
            needs=() if name == "tenant" else ("postgres",),
            finishes=_FINISHES[name],
            ready_seconds=120.0,
        )

    def _worker_part(self) -> Part:
        port = self._ports[f"{WORKER}-metrics"]
        settings = self._common(WORKER) | self._own_settings("runs")
        program = PythonProgram("runs.worker", self._layout.data, settings, EventLoopProbe(port))
        return Part(
            WORKER,
            program,
            uses=(*INFRASTRUCTURE, *_PEERS["runs"]),
            needs=("postgres",),
            finishes="the steps under way",
            ready_seconds=120.0,
        )

    def _envoy_part(self) -> Part:
        own = self._tls.proxy
        tls = None if own is None else ProxyTls(own, self._tls.ca_file)
        services = [
            ProxiedService(
                name,
                Address("127.0.0.1", self._ports[f"envoy-{name}"]),
                (Address("127.0.0.1", self._ports[name]),),
                web_origins=self._choices.web_origins,
                tls=tls,
            )
            for name in SERVICES
        ]
        server = EnvoyServer(
            self._layout.envoy, services, self._ports["envoy-admin"], self._tls.supervisor
        )
        # After the services, so that its first health checks find them; the next come in a second.
        return Part(
            "envoy",
            server,
            self._address("envoy-admin"),
            needs=SERVICES,
            uses=(WORKER,),
        )

    def _common(self, name: str) -> dict[str, str]:
        workload = "runs" if name == WORKER else name
        return {
            "NAGAYA_METRICS_PORT": str(self._ports[f"{name}-metrics"]),
            "NAGAYA_DRAIN_SECONDS": "0",  # there is no second server to move to
            "NAGAYA_REFLECTION": "true",
            "NAGAYA_JWKS_FILE": str(self._keys.jwks),
            # Where others issue them, no token of the clone's counts.
            "NAGAYA_TOKEN_ISSUER": "" if self._choices.token_command else keys.ISSUER,
            "NAGAYA_WORKLOAD_KEY_FILE": str(self._keys.workload(workload)),
            "NAGAYA_OTLP_ENDPOINT": self._choices.otlp_endpoint,
            **self._tls.settings(workload),
            **self._choices.postgres,
        }

    def _own_settings(self, name: str) -> dict[str, str]:
        """What a service needs beside the common; peers are called directly, not through Envoy."""
        peers = {
            f"NAGAYA_{peer.replace('-', '_').upper()}_ADDRESS": self._server(peer)
            for peer in _PEERS[name]
        }
        match name:
            case "tenant":
                embedded = self._choices.pg_url is None
                return {
                    "NAGAYA_PG_URL": self.endpoints.pg_url,
                    "NAGAYA_KEYRING_FILE": str(self._keys.keyring),
                    "NAGAYA_AUDIT_ANCHOR_FOLDER": str(self._layout.anchors),
                    # Where pg_dump is; beside another server the one on the path is used.
                    "NAGAYA_PG_BIN": str(packaged_binaries()) if embedded else "",
                    "NAGAYA_BACKUP_URL": (self._layout.data / "backups").as_uri(),
                    "NAGAYA_ARTIFACTS_ADDRESS": self._server("artifacts"),
                    "NAGAYA_RUNS_ADDRESS": self._server("runs"),
                    "NAGAYA_LLM_GATEWAY_ADDRESS": self._server("llm-gateway"),
                    "NAGAYA_TRANSFER_FOLDER": str(self._layout.data / "bundles"),
                }
            case "artifacts":
                return peers | {
                    "S3_ENDPOINT": self.endpoints.s3_endpoint,
                    "S3_ACCESS_KEY": self.endpoints.s3_access_key,
                    "S3_SECRET_KEY": self.endpoints.s3_secret_key,
                }
            case "llm-gateway":
                return peers | {
                    "NAGAYA_PROVIDER_KEYS_FILE": str(providers.keys_file(self._layout)),
                    "NAGAYA_PROVIDER_HTTP_HOSTS": "127.0.0.1",  # the stub's
                    "NAGAYA_SHUTDOWN_GRACE_SECONDS": "10",
                }
            case _:
                temporal = {"TEMPORAL_ADDRESS": self.endpoints.temporal, **self._choices.temporal}
                # Whoever tries webhooks out receives them here.
                return peers | temporal | {"NAGAYA_WEBHOOK_NETWORKS": "127.0.0.0/8, ::1/128"}

    def _server(self, name: str) -> str:
        """The address of a gRPC server, for those who call it."""
        return str(ServerAddress("127.0.0.1", self._ports[name], self._tls.supervisor))

    def _address(self, name: str) -> str:
        return f"127.0.0.1:{self._ports[name]}"


def _external(name: str, variable: str, address: str, ask: Callable[[], Awaitable[None]]) -> Part:
    return Part(
        name,
        External(ask),
        f"{address} (given)",
        ready_seconds=4.0,
        remedy=f"Start what {variable} names, correct it, or unset it for the embedded part.",
    )
