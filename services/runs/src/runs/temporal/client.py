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
from temporalio.service import ConnectConfig, GrpcCompression, RetryConfig, ServiceClient

from runs.temporal.failure_converter import TruncatingFailureConverter
from runs.temporal.payload_converter import LimitedPayloadConverter
from runs.temporal.renewal import RenewedServiceClient
from servicekit import telemetry

if TYPE_CHECKING:
    from temporalio.client import Interceptor

    from runs.temporal_config import TemporalConfig

_RETRIES = RetryConfig(max_retries=3, max_elapsed_time_millis=2_000)


async def connect(config: TemporalConfig, *, lazy: bool = True) -> Client:
    """Make a client. A lazy one connects when it is first used; workers need one that is not.

    Where spans are exported, they go on into workflows and activities. One that is not lazy raises
    RuntimeError when Temporal cannot be reached. Raises StartRefused when a file of TLS, or of the
    API key, cannot be used; `renewing` lets it use those that take the place of the files.
    """
    connect_config = ConnectConfig(
        config.address,
        api_key=config.api_key or None,
        tls=config.tls is not None,  # with an API key the SDK would choose TLS by itself
        retry_config=_RETRIES if lazy else None,
        runtime=_runtime(),
        grpc_compression=GrpcCompression.NONE,
        lazy=lazy,
    )
    if config.tls is None:
        connection = await ServiceClient.connect(connect_config)
    else:
        connection = RenewedServiceClient(connect_config, config.tls, config.api_key_file)
        await connection.begin()
    return Client(
        connection,
        namespace=config.namespace,
        data_converter=data_converter(),
        interceptors=_interceptors(),
    )


def data_converter() -> DataConverter:
    """Return the converter that every client and every worker of the service uses."""
    return DataConverter(
        payload_converter_class=LimitedPayloadConverter,
        failure_converter_class=TruncatingFailureConverter,
    )


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
