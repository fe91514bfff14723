"""Certificates for tests: of an authority of the test's own, in files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tls.authority import CertificateAuthority
from tls.config import ClientTls, ServerTls
from tls.files import KeyPair
from tls.spiffe import spiffe_id

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

TRUST_DOMAIN = "nagaya.test"
LOOPBACK = ("localhost", "127.0.0.1")


class CertificateFiles:
    """An authority, and files of what it has issued, in a folder."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.authority = CertificateAuthority.create(name)
        self.ca_file = folder / f"{name}.pem"
        self.ca_file.write_bytes(self.authority.certificate)

    def issue(
        self,
        name: str,
        *hosts: str,
        uri: str | None = None,
        starts: datetime | None = None,
        days: float = 1.0,
    ) -> KeyPair:
        """Write a certificate and its key as `<name>.pem` and `<name>-key.pem`."""
        issued = self.authority.issue(hosts, uri=uri, starts=starts, days=days)
        pair = KeyPair(self.folder / f"{name}.pem", self.folder / f"{name}-key.pem")
        pair.cert_file.write_bytes(issued.certificate)
        pair.key_file.write_bytes(issued.key)
        pair.key_file.chmod(0o600)
        return pair

    def server(self, *hosts: str) -> ServerTls:
        """Return the TLS of a server on the loopback, or for other hosts."""
        return ServerTls(self.issue(hosts[0] if hosts else "server", *(hosts or LOOPBACK)))

    def server_with_clients(self) -> ServerTls:
        """Return the TLS of a server whose clients must have certificates of this authority."""
        return ServerTls(self.issue("server", *LOOPBACK), self.ca_file, TRUST_DOMAIN)

    def client(self) -> ClientTls:
        """Return how somebody without a certificate verifies servers of this authority."""
        return ClientTls(self.ca_file)

    def workload(self, name: str, uri: str | None = None) -> ClientTls:
        """Return the same for a workload, which has a certificate."""
        own = self.issue(f"workload-{name}", uri=uri or spiffe_id(TRUST_DOMAIN, name))
        return ClientTls(self.ca_file, own)
