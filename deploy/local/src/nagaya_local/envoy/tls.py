"""TLS of Envoy: towards clients, and towards servers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from tls.files import KeyPair

_Json = dict[str, Any]

_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"


@dataclass(frozen=True, slots=True)
class ProxyTls:
    """Envoy's certificate, which it shows to all, and whom the certificates of servers are of."""

    own: KeyPair
    ca_file: Path


def towards_clients(tls: ProxyTls, protocols: list[str]) -> _Json:
    """Return the transport socket of a listener: TLS only, and clients need no certificate."""
    return _socket(
        f"{_TYPE}.DownstreamTlsContext",
        {"common_tls_context": _own(tls) | {"alpn_protocols": protocols}},
    )


def towards_servers(tls: ProxyTls, name: str) -> _Json:
    """Return the transport socket of a cluster: its servers have a certificate for `name`."""
    validation = {
        "trusted_ca": {"filename": str(tls.ca_file)},
        "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": name}}],
    }
    common = _own(tls) | {"alpn_protocols": ["h2"], "validation_context": validation}
    return _socket(f"{_TYPE}.UpstreamTlsContext", {"common_tls_context": common, "sni": name})


def _own(tls: ProxyTls) -> _Json:
    return {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "tls_certificates": [
            {
                "certificate_chain": {"filename": str(tls.own.cert_file)},
                "private_key": {"filename": str(tls.own.key_file)},
            }
        ],
    }


def _socket(kind: str, context: _Json) -> _Json:
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {"@type": kind} | context,
    }
