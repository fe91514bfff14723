"""Temporal by TLS and with an API key, as its Cloud wants it, by the names of its own settings."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import grpc
import pytest
from temporalio import workflow
from temporalio.service import RPCError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from tests.support.certificates import LOOPBACK, CertificateFiles
from tests.support.tls_proxy import TlsProxy
from tests.support.waiting import wait_until

from runs.temporal.client import connect
from runs.temporal.renewal import renewing
from runs.temporal_config import TemporalConfig
from servicekit.settings import SettingsInvalid, read
from tls.config import ClientTls
from tls.files import KeyPair

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from temporalio.client import Client

    from nagaya_local.parts.temporal import TemporalServer


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    return CertificateFiles(tmp_path)


def config(address: str, **settings: object) -> TemporalConfig:
    given = {f"TEMPORAL_{name}": str(value) for name, value in settings.items()}
    return read(TemporalConfig.from_environment, {"TEMPORAL_ADDRESS": address, **given})


async def test_temporal_is_called_by_tls_with_a_certificate(
    temporal: TemporalServer, files: CertificateFiles
) -> None:
    port = int(temporal.address.rpartition(":")[2])
    own = files.issue("client")
    proxy = TlsProxy(
        port,
        files.issue("cloud", "temporal.example"),
        protocols=("h2",),
        client_ca_file=files.ca_file,
    )
    with proxy.running():
        found = config(
            f"https://127.0.0.1:{proxy.port}",
            TLS_SERVER_CA_CERT_PATH=files.ca_file,
            TLS_CLIENT_CERT_PATH=own.cert_file,
            TLS_CLIENT_KEY_PATH=own.key_file,
            TLS_SERVER_NAME="temporal.example",
        )
        client = await connect(found, lazy=False)
        assert await client.service_client.check_health()
        assert proxy.connections > 0


@workflow.defn
class Greeting:
    @workflow.run
    async def run(self) -> str:
        return "hello"


async def greeted(client: Client, queue: str) -> str:
    handle = await client.start_workflow(Greeting.run, id=secrets.token_hex(8), task_queue=queue)
    async with asyncio.timeout(60):
        return await handle.result()


async def test_certificates_are_renewed_under_a_client_and_its_worker(
    temporal: TemporalServer, files: CertificateFiles, tmp_path: Path
) -> None:
    port = int(temporal.address.rpartition(":")[2])
    used = tuple(tmp_path / f"used-{name}" for name in ("ca.pem", "cert.pem", "key.pem"))
    own = files.issue("client")
    use(used, files.ca_file, own)
    tls = ClientTls(used[0], KeyPair(*used[1:]))
    proxy = TlsProxy(
        port, files.issue("cloud", *LOOPBACK), protocols=("h2",), client_ca_file=files.ca_file
    )
    with ExitStack() as before, ExitStack() as after:
        before.enter_context(proxy.running())
        found = replace(config(f"127.0.0.1:{proxy.port}"), tls=tls)
        client = await connect(found, lazy=False)
        queue = secrets.token_hex(8)
        worker = Worker(
            client,
            task_queue=queue,
            workflows=[Greeting],
            workflow_runner=UnsandboxedWorkflowRunner(),
        )
        async with worker, renewing(client, worker):
            assert await greeted(client, queue) == "hello"

            before.close()
            others = CertificateFiles(tmp_path / "others")
            renewed = TlsProxy(
                port,
                others.issue("cloud", *LOOPBACK),
                protocols=("h2",),
                client_ca_file=others.ca_file,
                listen=proxy.port,
            )
            after.enter_context(renewed.running())
            use(used, others.ca_file, others.issue("client"))

            assert await wait_until(lambda: answer(client, queue)) == "hello"


def use(used: tuple[Path, ...], ca_file: Path, own: KeyPair) -> None:
    """Put certificates in the place of those that are used."""
    for file, place in zip((ca_file, own.cert_file, own.key_file), used, strict=True):
        shutil.copy(file, place)  # with its mode: nobody else may read the key


async def answer(client: Client, queue: str) -> str:
    try:
        return await greeted(client, queue)
    except RPCError:
        return ""


async def test_a_server_that_is_not_right_is_not_called(
    temporal: TemporalServer, files: CertificateFiles, tmp_path: Path
) -> None:
    port = int(temporal.address.rpartition(":")[2])
    strangers = CertificateFiles(tmp_path / "theirs")
    proxy = TlsProxy(port, strangers.issue("cloud", *LOOPBACK), protocols=("h2",))
    with proxy.running():
        address = f"https://127.0.0.1:{proxy.port}"
        with pytest.raises(RuntimeError):
            await connect(config(address, TLS_SERVER_CA_CERT_PATH=files.ca_file), lazy=False)
        with pytest.raises(RuntimeError):
            await connect(config(f"127.0.0.1:{proxy.port}"), lazy=False)


@asynccontextmanager
async def cloud(files: CertificateFiles) -> AsyncGenerator[tuple[str, list[str]]]:
    """A server by TLS, with the authorizations of its calls; without methods it is an old one."""
    seen: list[str] = []

    class Frontend(grpc.GenericRpcHandler):
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> None:
            metadata = dict(handler_call_details.invocation_metadata)
            seen.append(str(metadata.get("authorization")))

    own = files.issue("cloud", *LOOPBACK)
    pair = (own.key_file.read_bytes(), own.cert_file.read_bytes())
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Frontend(),))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    await server.start()
    try:
        yield f"127.0.0.1:{port}", seen
    finally:
        await server.stop(0)


async def test_an_api_key_is_sent_by_tls_only(files: CertificateFiles) -> None:
    async with cloud(files) as (address, seen):
        # As with Temporal's own tools, the key alone means TLS.
        found = config(address, API_KEY="hush", TLS_SERVER_CA_CERT_PATH=files.ca_file)
        assert "hush" not in repr(found)
        await connect(found, lazy=False)

    assert set(seen) == {"Bearer hush"}


async def test_an_api_key_is_renewed_with_its_file(files: CertificateFiles, tmp_path: Path) -> None:
    key = tmp_path / "api-key"
    key.write_text("hush")
    key.chmod(0o600)
    async with cloud(files) as (address, seen):
        found = config(address, API_KEY_FILE=key, TLS_SERVER_CA_CERT_PATH=files.ca_file)
        client = await connect(found, lazy=False)
        assert set(seen) == {"Bearer hush"}
        async with renewing(client):
            key.write_text("hush anew")

            async def used() -> bool:
                return "Bearer hush anew" in seen

            await wait_until(used)


@pytest.mark.parametrize(
    ("address", "settings", "words"),
    [
        ("https://t:7233", {"TLS": "false"}, "TEMPORAL_TLS=false"),
        ("t:7233", {"TLS": "false", "API_KEY": "hush"}, "TEMPORAL_TLS=false"),
        ("t:7233", {"TLS": "yes"}, "TEMPORAL_TLS=yes: not true or false"),
        ("dns:///t:7233", {}, "Temporal's client resolves no dns://"),
        ("tcp://t:7233", {}, "begins with tcp://"),
    ],
)
def test_what_contradicts_itself_is_refused(
    address: str, settings: dict[str, str], words: str
) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        config(address, **settings)

    assert any(words in problem for problem in refused.value.problems)
    assert "hush" not in str(refused.value)


def test_a_certificate_without_its_key_is_refused(files: CertificateFiles) -> None:
    with pytest.raises(SettingsInvalid, match="belong together"):
        config("t:7233", TLS_CLIENT_CERT_PATH=files.issue("client").cert_file)


def test_plaintext_stays_plaintext() -> None:
    assert config("t:7233").tls is None
    assert config("t:7233", TLS="true").tls is not None
