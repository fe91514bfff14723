"""The configuration of Envoy for deploy/k8s and deploy/compose, made from the contracts."""

from __future__ import annotations

import json
from pathlib import Path

from nagaya_local.envoy.bootstrap import Address, ProxiedService, bootstrap

FILE = Path(__file__).resolve().parents[1] / "deploy/k8s/components/envoy/envoy.json"
_PORTS = {"tenant": 7001, "runs": 7002, "artifacts": 7003, "llm-gateway": 7004}
_SERVERS_PORT = 7000


def configuration() -> str:
    """Return the configuration: a listener for each service, whose servers have its name."""
    services = [
        ProxiedService(name, Address("0.0.0.0", port), (Address(name, _SERVERS_PORT),))  # noqa: S104
        for name, port in _PORTS.items()
    ]
    return json.dumps(bootstrap(services, Address("127.0.0.1", 9901)), indent=1) + "\n"
