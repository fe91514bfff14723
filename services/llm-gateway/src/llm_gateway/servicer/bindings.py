"""The service's gRPC services, ready to be served."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptor.server import Binding, bind
from nagaya.llm_gateway.v1.call_service_pb2_grpc import add_CallServiceServicer_to_server
from nagaya.llm_gateway.v1.catalog_service_pb2_grpc import add_CatalogServiceServicer_to_server
from nagaya.llm_gateway.v1.generation_service_pb2_grpc import (
    add_GenerationServiceServicer_to_server,
)
from nagaya.tenant_data.v1.tenant_data_service_pb2_grpc import (
    add_TenantDataServiceServicer_to_server,
)

if TYPE_CHECKING:
    from llm_gateway.servicer.calls import CallServicer
    from llm_gateway.servicer.catalog import CatalogServicer
    from llm_gateway.servicer.generation import GenerationServicer
    from tenantdata.servicer import TenantDataServicer

_PACKAGE = "nagaya.llm_gateway.v1"


def bindings(
    generation: GenerationServicer,
    calls: CallServicer,
    catalog: CatalogServicer,
    tenant_data: TenantDataServicer,
) -> list[Binding]:
    """Bind each servicer to the name of its service."""
    return [
        bind(add_GenerationServiceServicer_to_server, generation, f"{_PACKAGE}.GenerationService"),
        bind(add_CallServiceServicer_to_server, calls, f"{_PACKAGE}.CallService"),
        bind(add_CatalogServiceServicer_to_server, catalog, f"{_PACKAGE}.CatalogService"),
        bind(
            add_TenantDataServiceServicer_to_server,
            tenant_data,
            "nagaya.tenant_data.v1.TenantDataService",
        ),
    ]
