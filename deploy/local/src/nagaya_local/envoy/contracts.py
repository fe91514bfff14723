"""What a route needs to know of a method, read from its contract."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nagaya.options.v1 import method_policy_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import FileDescriptor, MethodDescriptor, ServiceDescriptor

_DEFAULT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Method:
    """A method, as a route sees it."""

    path: str
    """As on the wire: /nagaya.runs.v1.RunService/WatchRun."""
    streaming: bool
    """Whether either side sends more than one message."""
    max_seconds: int


def methods_of(package: str) -> tuple[Method, ...]:
    """Return every method of a package such as `nagaya.runs.v1`, by path."""
    found = [
        _method(service, method)
        for file in _service_files(package)
        for service in file.services_by_name.values()
        for method in service.methods
    ]
    return tuple(sorted(found, key=lambda method: method.path))


def _service_files(package: str) -> Iterator[FileDescriptor]:
    parent = importlib.import_module(package)
    for module in pkgutil.iter_modules(parent.__path__):
        if module.name.endswith("_service_pb2"):
            yield importlib.import_module(f"{package}.{module.name}").DESCRIPTOR


def _method(service: ServiceDescriptor, method: MethodDescriptor) -> Method:
    policy = method.GetOptions().Extensions[method_policy_pb2.policy]
    return Method(
        path=f"/{service.full_name}/{method.name}",
        streaming=method.client_streaming or method.server_streaming,
        max_seconds=policy.max_seconds or _DEFAULT_SECONDS,
    )
