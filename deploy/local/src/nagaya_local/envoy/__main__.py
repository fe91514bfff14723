"""`python -m nagaya_local.envoy`: print Envoy's configuration for servers anywhere."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from nagaya_local.envoy.bootstrap import Address, ProxiedService, bootstrap
from nagaya_local.envoy.tls import ProxyTls
from nagaya_local.names import SERVICES
from nagaya_local.origins import read_origins
from tls.files import KeyPair


def main() -> int:
    parser = argparse.ArgumentParser(
        "nagaya_local.envoy", description="Print Envoy's configuration as JSON."
    )
    parser.add_argument("--admin", type=Address.parse, default=Address("127.0.0.1", 9901))
    parser.add_argument(
        "--web-origin",
        action="append",
        default=[],
        type=_origin,
        metavar="ORIGIN",
        help="pages of this origin may call from a browser, such as https://app.example.com",
    )
    parser.add_argument(
        "--tls",
        nargs=3,
        type=Path,
        metavar=("CERT", "KEY", "CA"),
        help="speak TLS only: Envoy's certificate and key, for clients and servers, and the "
        "authorities of the servers' certificates, which are for the names of the services",
    )
    parser.add_argument(
        "services",
        nargs="+",
        type=_service,
        metavar="SERVICE=LISTEN=SERVER[,SERVER…]",
        help="such as runs=0.0.0.0:7002=runs-1:7000,runs-2:7000",
    )
    options = parser.parse_args()
    origins = tuple(options.web_origin)
    tls = ProxyTls(KeyPair(*options.tls[:2]), options.tls[2]) if options.tls else None
    services = [replace(service, web_origins=origins, tls=tls) for service in options.services]
    sys.stdout.write(json.dumps(bootstrap(services, options.admin), indent=2) + "\n")
    return 0


def _origin(text: str) -> str:
    try:
        (origin,) = read_origins((text,))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return origin


def _service(text: str) -> ProxiedService:
    name, listen, servers = text.split("=")
    if name not in SERVICES:
        raise argparse.ArgumentTypeError(f"{name} is no service: {', '.join(SERVICES)} are")
    return ProxiedService(
        name,
        Address.parse(listen),
        tuple(map(Address.parse, servers.split(","))),
    )


if __name__ == "__main__":
    sys.exit(main())
