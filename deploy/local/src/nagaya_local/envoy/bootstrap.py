"""Envoy's whole configuration: a listener and a cluster for each service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nagaya_local.envoy import routes, web
from nagaya_local.envoy.contracts import methods_of
from nagaya_local.envoy.tls import towards_clients, towards_servers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nagaya_local.envoy.contracts import Method
    from nagaya_local.envoy.tls import ProxyTls

_Json = dict[str, Any]

_TYPE = "type.googleapis.com/envoy."
_MIB = 1024 * 1024
# With Envoy's defaults (256 MiB windows) 32 stalled uploads hold 495 MiB; with these, 31.
_HTTP2: _Json = {
    "max_concurrent_streams": 1024,
    "initial_stream_window_size": _MIB,
    "initial_connection_window_size": 8 * _MIB,
}
_HTTP2_KEPT_ALIVE = _HTTP2 | {"connection_keepalive": {"interval": "30s", "timeout": "10s"}}
_BUFFER = _MIB
# Envoy resets the stream of whoever sends more, without a word. The servers' own limit is one of
# bytes, and they say so.
_MOST_HEADERS = 1000
_HEALTH_CHECK: _Json = {
    "grpc_health_check": {},
    "interval": "1s",
    "timeout": "1s",
    "unhealthy_threshold": 2,
    "healthy_threshold": 1,
    # Until a cluster has had traffic it is otherwise checked once a minute.
    "no_traffic_interval": "1s",
    "no_traffic_healthy_interval": "1s",
}
# A process that has just started opens its connections to databases first.
_SLOW_START = "5s"
_THRESHOLD: _Json = {
    "max_connections": 1024,
    "max_requests": 8192,
    "max_pending_requests": 1024,
    # The floor lets a few calls in flight all be retried when a server dies.
    "retry_budget": {"budget_percent": {"value": 20.0}, "min_retry_concurrency": 16},
}


@dataclass(frozen=True, slots=True)
class Address:
    """Host and port of a listener or server."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `host:port`. Raises ValueError."""
        host, _, port = text.rpartition(":")
        if not host:
            raise ValueError(f"{text} is not host:port")
        return cls(host, int(port))


@dataclass(frozen=True, slots=True)
class ProxiedService:
    """One service: where clients reach it, where its servers are, and its methods."""

    name: str
    listen: Address
    servers: tuple[Address, ...]
    methods: tuple[Method, ...] | None = None
    """Those of its contract, read when the configuration is made, if None."""
    web_origins: tuple[str, ...] = ()
    """The origins of pages that may call it from a browser; with none it speaks HTTP/2 only."""
    tls: ProxyTls | None = None
    """TLS towards clients and servers, whose certificates are for the name; plaintext if None."""


def bootstrap(services: Sequence[ProxiedService], admin: Address) -> _Json:
    """Return the configuration, ready to be written as JSON."""
    return {
        "admin": {"address": _socket(admin)},
        "static_resources": {
            "listeners": [_listener(service) for service in services],
            "clusters": [_cluster(service) for service in services],
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": f"{_TYPE}extensions.resource_monitors.downstream_connections"
                        ".v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": 10_000,
                    },
                }
            ]
        },
    }


def _listener(service: ProxiedService) -> _Json:
    manager = {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": _connection_manager(service),
    }
    return {
        "name": service.name,
        "address": _socket(service.listen),
        # Otherwise a second Envoy could listen on the same port and take half of the calls.
        "enable_reuse_port": False,
        "per_connection_buffer_limit_bytes": _BUFFER,
        "filter_chains": [{"filters": [manager]} | _listener_tls(service)],
    }


def _listener_tls(service: ProxiedService) -> _Json:
    if service.tls is None:
        return {}
    protocols = ["h2", "http/1.1"] if service.web_origins else ["h2"]
    return {"transport_socket": towards_clients(service.tls, protocols)}


def _connection_manager(service: ProxiedService) -> _Json:
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"{_TYPE}extensions.filters.http.router.v3.Router"},
    }
    return {
        "@type": f"{_TYPE}extensions.filters.network.http_connection_manager.v3"
        ".HttpConnectionManager",
        "stat_prefix": service.name,
        **web.connection_options(service.web_origins),
        "http2_protocol_options": _HTTP2_KEPT_ALIVE,
        "common_http_protocol_options": {
            "idle_timeout": "3600s",
            "max_headers_count": _MOST_HEADERS,
        },
        "use_remote_address": True,
        "preserve_external_request_id": True,
        "forward_client_cert_details": "SANITIZE",
        "early_header_mutation_extensions": [_header_mutation()],
        "route_config": {
            "name": service.name,
            "virtual_hosts": [
                routes.virtual_host(service.name, _methods(service), service.web_origins)
            ],
        },
        "http_filters": [*web.http_filters(service.web_origins), router],
    }


def _methods(service: ProxiedService) -> tuple[Method, ...]:
    if service.methods is not None:
        return service.methods
    return methods_of(f"nagaya.{service.name.replace('-', '_')}.v1")


def _header_mutation() -> _Json:
    return {
        "name": "envoy.http.early_header_mutation.header_mutation",
        "typed_config": {
            "@type": f"{_TYPE}extensions.http.early_header_mutation.header_mutation"
            ".v3.HeaderMutation",
            "mutations": routes.header_removals(),
        },
    }


def _cluster(service: ProxiedService) -> _Json:
    servers = [{"endpoint": {"address": _socket(address)}} for address in service.servers]
    tls = service.tls
    secure = {} if tls is None else {"transport_socket": towards_servers(tls, service.name)}
    return secure | {
        "name": service.name,
        "type": "STATIC" if all(map(_is_numeric, service.servers)) else "STRICT_DNS",
        "connect_timeout": "1s",
        "per_connection_buffer_limit_bytes": _BUFFER,
        "load_assignment": {
            "cluster_name": service.name,
            "endpoints": [{"lb_endpoints": servers}],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPE}extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": _HTTP2_KEPT_ALIVE},
            }
        },
        # And no outlier detection: it counts UNAVAILABLE as a 503, and would eject a server that
        # tells the truth about a provider.
        "health_checks": [_HEALTH_CHECK],
        "round_robin_lb_config": {"slow_start_config": {"slow_start_window": _SLOW_START}},
        "circuit_breakers": {"thresholds": [_THRESHOLD]},
    }


def _socket(address: Address) -> _Json:
    return {"socket_address": {"address": address.host, "port_value": address.port}}


def _is_numeric(address: Address) -> bool:
    return address.host.replace(".", "").isdigit()
