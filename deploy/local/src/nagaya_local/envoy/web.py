"""Browsers in front of a service: gRPC-Web, and which pages may call it (CORS)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from nagaya_local.origins import ANY_PORT

if TYPE_CHECKING:
    from collections.abc import Sequence

_Json = dict[str, Any]

_FILTERS = "envoy.filters.http."
_TYPE = "type.googleapis.com/envoy.extensions.filters.http."
# gRPC's own content types as Envoy's matcher `grpc` has them, and those of gRPC-Web that its filter
# translates: what it does not must not reach a server.
_CONTENT_TYPE = r"application/grpc(\+.*|-web(-text)?(\+proto)?)?"
_REQUEST_HEADERS = (
    "authorization", "content-type", "grpc-timeout", "traceparent", "tracestate", "x-grpc-web",
    "x-request-id", "x-user-agent",
)  # fmt: skip
# A refusal before the first message has them as headers, which a page may read only if named.
_RESPONSE_HEADERS = (
    "grpc-status", "grpc-message", "grpc-status-details-bin", "grpc-retry-pushback-ms",
    "x-request-id",
)  # fmt: skip
_PREFLIGHT_SECONDS = 7200  # the longest that Chromium remembers
_HEADERS_SECONDS = 10


def connection_options(origins: Sequence[str]) -> _Json:
    """Return what differs of a listener: a browser may speak HTTP/1.1."""
    if not origins:
        return {"codec_type": "HTTP2"}
    return {"codec_type": "AUTO", "request_headers_timeout": f"{_HEADERS_SECONDS}s"}


def http_filters(origins: Sequence[str]) -> list[_Json]:
    """Return the filters before the router."""
    kinds = (("grpc_web", "GrpcWeb"), ("cors", "Cors")) if origins else ()
    return [
        {"name": f"{_FILTERS}{name}", "typed_config": {"@type": f"{_TYPE}{name}.v3.{kind}"}}
        for name, kind in kinds
    ]


def content_type(origins: Sequence[str]) -> _Json:
    """Return the part of a route's match that asks for gRPC, or gRPC-Web where pages may call."""
    if not origins:
        return {"grpc": {}}
    # A route is chosen before the filter has made gRPC of gRPC-Web.
    return {"headers": [{"name": "content-type", "string_match": _regex(_CONTENT_TYPE)}]}


def policy(origins: Sequence[str]) -> _Json:
    """Return the CORS policy of a virtual host, by the name of its filter."""
    return {
        f"{_FILTERS}cors": {
            "@type": f"{_TYPE}cors.v3.CorsPolicy",
            "allow_origin_string_match": [_origin_match(origin) for origin in origins],
            "allow_methods": "POST",
            "allow_headers": ", ".join(_REQUEST_HEADERS),
            "expose_headers": ", ".join(_RESPONSE_HEADERS),
            "max_age": str(_PREFLIGHT_SECONDS),
            # Otherwise a server would be asked about pages that may not call it.
            "forward_not_matching_preflights": False,
        }
    }


def preflight_route(cluster: str) -> _Json:
    """Return the route of questions whether a page may call; the filter answers them all.

    It needs a route to a cluster to find its policy, and a question has no content type.
    """
    present = {"present_match": True}
    headers = [
        {"name": ":method", "string_match": {"exact": "OPTIONS"}},
        {"name": "origin", **present},
        {"name": "access-control-request-method", **present},
    ]
    return {"match": {"prefix": "/nagaya.", "headers": headers}, "route": {"cluster": cluster}}


def _origin_match(origin: str) -> _Json:
    if origin.endswith(ANY_PORT):
        return _regex(re.escape(origin.removesuffix(ANY_PORT)) + "(:[0-9]+)?")
    return {"exact": origin}


def _regex(pattern: str) -> _Json:
    return {"safe_regex": {"regex": pattern}}
