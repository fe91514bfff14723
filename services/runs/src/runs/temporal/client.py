"""The client of Temporal, as both processes and the auditor use it."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import TYPE_CHECKING

from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)
from temporalio.service import GrpcCompression, RetryConfig, TLSConfig

from runs.temporal.failure_converter import TruncatingFailureConverter
from runs.temporal.payload_converter import LimitedPayloadConverter
from servicekit import telemetry
from servicekit.errors import StartRefused
from tls.files import CertificateInvalid, read_authorities, read_certificate

if TYPE_CHECKING:
    from temporalio.client import Interceptor

    from runs.temporal_config import TemporalConfig
    from tls.config import ClientTls

_RETRIES = RetryConfig(max_retries=3, max_elapsed_time_millis=2_000)


async def connect(config: TemporalConfig, *, lazy: bool = True) -> Client:
    """Make a client. A lazy one connects when it is first used; workers need one that is not.

    Where spans are exported, they go on into workflows and activities. One that is not lazy raises
    RuntimeError when Temporal cannot be reached.
    """
    return await Client.connect(
        config.address,
        namespace=config.namespace,
        api_key=config.api_key or None,
        tls=_tls(config.tls),
        data_converter=data_converter(),
        interceptors=_interceptors(),
        retry_config=_RETRIES if lazy else None,
        runtime=_runtime(),
        grpc_compression=GrpcCompression.NONE,
        lazy=lazy,
    )


def data_converter() -> DataConverter:
    """Return the converter that every client and every worker of the service uses."""
    return DataConverter(
        payload_converter_class=LimitedPayloadConverter,
        failure_converter_class=TruncatingFailureConverter,
    )


def _tls(tls: ClientTls | None) -> TLSConfig | bool:
    """Return what the SDK is told. Raises StartRefused when a file cannot be used."""
    if tls is None:
        return False  # with an API key the SDK would choose TLS by itself
    try:
        own = None if tls.own is None else read_certificate(tls.own)
        return TLSConfig(
            server_root_ca_cert=None if tls.ca_file is None else read_authorities(tls.ca_file),
            domain=tls.server_name or None,
            client_cert=None if own is None else own.chain,
            client_private_key=None if own is None else own.key,
        )
    except CertificateInvalid as error:
        raise StartRefused(str(error)) from None


def _interceptors() -> list[Interceptor]:
    tracer = telemetry.tracer()
    if tracer is None:
        return []
    # It imports the whole worker of the SDK: a fifth of what starting the API takes.
    from temporalio.contrib.opentelemetry import TracingInterceptor  # noqa: PLC0415

    return [TracingInterceptor(tracer)]


@lru_cache(maxsize=1)
def _runtime() -> Runtime:
    """Return the threads below all clients of this process; what they log is a log line of ours."""
    logger = logging.getLogger("temporal")
    logger.addFilter(_without_entry)
    forwarding = LogForwardingConfig(logger, prepend_target_on_message=False)
    filters = TelemetryFilter(core_level="WARN", other_level="ERROR")
    return Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(filters, forwarding)))


def _without_entry(record: logging.LogRecord) -> bool:
    vars(record).pop("temporal_log", None)  # an object of the SDK's, which says the same again
    return True
