"""Temporal is connected to anew when the files of its TLS, or that of its API key, change."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from temporalio.service import ConnectConfig, ServiceClient, TLSConfig

from servicekit.errors import StartRefused
from servicekit.private_files import read_secret
from servicekit.retries import RetryLog, retry
from tls.files import CertificateInvalid, Reread, read_authorities, read_certificate

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from pathlib import Path

    from temporalio.client import Client
    from temporalio.worker import Worker

    from tls.config import ClientTls

_RECHECK_SECONDS = 1.0
_log = logging.getLogger(__name__)


class RenewedServiceClient(ServiceClient):
    """Calls Temporal over the connection that was made last.

    The SDK's own has the certificates and the key for ever with which it was made. Raises
    StartRefused when the files cannot be used from the start.
    """

    def __init__(self, config: ConnectConfig, tls: ClientTls, api_key_file: Path | None) -> None:
        files = tls.files if api_key_file is None else (*tls.files, api_key_file)
        try:
            self._files = Reread(files, lambda: _read(config, tls, api_key_file))
        except CertificateInvalid as error:
            raise StartRefused(str(error)) from None
        super().__init__(self._files.value)
        self._current: ServiceClient | None = None

    async def begin(self) -> None:
        """Connect for the first time; if it is lazy, with the first call."""
        self._current = await ServiceClient.connect(self.config)

    def refresh(self) -> bool:
        """Read the files if they have changed; return whether there is something new to use."""
        return self._files.refresh()

    async def renew(self) -> None:
        """Connect with what the files hold now. Raises RuntimeError; the former one stays then."""
        self.refresh()
        config = replace(self._files.value, lazy=False)
        self._current = await ServiceClient.connect(config)

    @property
    def worker_service_client(self) -> Any:  # noqa: ANN401 - the SDK's own, for workers
        return self._begun.worker_service_client

    def update_rpc_metadata(self, metadata: Mapping[str, str | bytes]) -> None:
        self._begun.update_rpc_metadata(metadata)

    def update_api_key(self, api_key: str | None) -> None:
        self._begun.update_api_key(api_key)

    async def _rpc_call(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - the SDK's
        return await self._begun._rpc_call(*arguments, **options)

    @property
    def _begun(self) -> ServiceClient:
        assert self._current is not None  # noqa: S101 - `begin` comes first
        return self._current


@asynccontextmanager
async def renewing(client: Client, *workers: Worker) -> AsyncGenerator[None]:
    """Let a client and its workers, in the block, use the certificates and the key that there are.

    The files are looked at once a second. What goes on over the former connection ends there.
    """
    connection = client.service_client
    if not isinstance(connection, RenewedServiceClient):
        yield
        return
    task = asyncio.create_task(_renew(connection, client, workers))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def _renew(
    connection: RenewedServiceClient, client: Client, workers: tuple[Worker, ...]
) -> None:
    log = RetryLog(_log, "temporal.unavailable", "new certificates or keys wait for Temporal")
    while True:
        await asyncio.sleep(_RECHECK_SECONDS)
        if connection.refresh():
            # With a RuntimeError the SDK says that it cannot connect.
            await retry(connection.renew, RuntimeError, log)
            for worker in workers:
                worker.client = client


def _read(config: ConnectConfig, tls: ClientTls, api_key_file: Path | None) -> ConnectConfig:
    """Return what the SDK is told. Raises CertificateInvalid."""
    own = None if tls.own is None else read_certificate(tls.own)
    made = TLSConfig(
        server_root_ca_cert=None if tls.ca_file is None else read_authorities(tls.ca_file),
        domain=tls.server_name or None,
        client_cert=None if own is None else own.chain,
        client_private_key=None if own is None else own.key,
    )
    if api_key_file is None:
        return replace(config, tls=made)
    try:
        return replace(config, tls=made, api_key=read_secret(api_key_file))
    except (ValueError, OSError) as error:
        raise CertificateInvalid(f"{api_key_file}: {error}") from None
