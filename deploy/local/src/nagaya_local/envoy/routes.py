"""Routes, one for each method: timeouts and retries differ by method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nagaya_local.envoy import web

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nagaya_local.envoy.contracts import Method

_Json = dict[str, Any]

# What every server of ours answers beside its own services.
_COMMON = (
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
)
# A caller says who they are by a token and nothing else; these would steer the proxy itself or
# pretend that a proxy before us has checked somebody.
_REMOVED_PREFIXES = ("x-envoy-", "x-forwarded-", "x-nagaya-")
_REMOVED = ("forwarded", "x-real-ip", "x-user-id", "x-tenant-id")
_STREAM_IDLE = "3600s"
_GRACE_SECONDS = 30


def virtual_host(cluster: str, methods: Sequence[Method], origins: Sequence[str] = ()) -> _Json:
    """All routes of one service. A path that none matches is answered UNIMPLEMENTED.

    Pages of the origins may call its methods from a browser.
    """
    kind = web.content_type(origins)
    routes = [_method_route(cluster, method, kind) for method in methods]
    routes += [_common_route(cluster, prefix) for prefix in _COMMON]
    host: _Json = {"name": cluster, "domains": ["*"], "routes": routes}
    if origins:
        routes.insert(0, web.preflight_route(cluster))
        host["typed_per_filter_config"] = web.policy(origins)
    return host


def header_removals() -> list[_Json]:
    """Mutations that remove what a caller must not set, before a route is chosen."""
    prefixes = [{"prefix": prefix} for prefix in _REMOVED_PREFIXES]
    exact = [{"exact": name} for name in _REMOVED]
    return [{"remove_on_match": {"key_matcher": matcher}} for matcher in (*prefixes, *exact)]


def _method_route(cluster: str, method: Method, kind: _Json) -> _Json:
    route: _Json = {
        "cluster": cluster,
        # Envoy's own default would cut every stream after 15 s. The caller's deadline counts
        # instead, cut to what the method's policy allows.
        "timeout": "0s",
        "max_stream_duration": {"grpc_timeout_header_max": f"{method.max_seconds}s"},
        "idle_timeout": _idle_timeout(method),
        "retry_policy": _retry(),
    }
    return {"match": {"path": method.path, **kind}, "route": route}


def _idle_timeout(method: Method) -> str:
    # A unary call carries nothing until its response: it may be idle as long as its policy says.
    return _STREAM_IDLE if method.streaming else f"{method.max_seconds + _GRACE_SECONDS}s"


def _common_route(cluster: str, prefix: str) -> _Json:
    route = {"cluster": cluster, "timeout": "0s", "idle_timeout": _STREAM_IDLE}
    return {"match": {"prefix": prefix, "grpc": {}}, "route": route}


def _retry() -> _Json:
    """Ride over the restart of a server, some seconds, by what certainly never reached it.

    So whatever the method is: of a stream of requests Envoy keeps what came before a connection.
    A status is never tried again: Envoy cannot tell that this server is away from a server that
    says that its provider is, and it does not heed `grpc-retry-pushback-ms`. The caller's deadline
    ends it earlier.
    """
    return {
        # No connection; or the server itself, or its GOAWAY, says that it has not begun. Not
        # `reset`: a stream that breaks off may have been at work.
        "retry_on": "connect-failure,refused-stream",
        "num_retries": 12,
        "retry_back_off": {"base_interval": "0.1s", "max_interval": "1s"},
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.retry.host."
                    "previous_hosts.v3.PreviousHostsPredicate"
                },
            }
        ],
        "host_selection_retry_max_attempts": 3,
    }
