"""The configurations of Envoy for deploy/k8s and deploy/compose, made from the contracts."""

from __future__ import annotations

import json
from pathlib import Path

from nagaya_local.envoy.bootstrap import Address, ProxiedService, bootstrap
from nagaya_local.envoy.tls import ProxyTls
from tls.files import KeyPair

_COMPONENTS = Path(__file__).resolve().parents[1] / "deploy" / "k8s" / "components"
_MOUNT = Path("/run/secrets/tls")
_PORTS = {"tenant": 7001, "runs": 7002, "artifacts": 7003, "llm-gateway": 7004}
_SERVERS_PORT = 7000


def configurations() -> dict[Path, str]:
    """Return them by their files: a listener for each service, whose servers have its name."""
    tls = ProxyTls(KeyPair(_MOUNT / "tls.crt", _MOUNT / "tls.key"), _MOUNT / "ca.crt")
    return {
        _COMPONENTS / "envoy" / "envoy.json": _configuration(None),
        _COMPONENTS / "envoy-tls" / "envoy.json": _configuration(tls),
    }


def _configuration(tls: ProxyTls | None) -> str:
    services = [
        ProxiedService(name, Address("0.0.0.0", port), (Address(name, _SERVERS_PORT),), tls=tls)  # noqa: S104
        for name, port in _PORTS.items()
    ]
    return json.dumps(bootstrap(services, Address("127.0.0.1", 9901)), indent=1) + "\n"
