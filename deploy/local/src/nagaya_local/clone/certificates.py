"""Certificates of the clone: an authority of its own, and what it issues to each process."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from nagaya_local.machine import files
from nagaya_local.names import SERVICES
from tls.authority import CertificateAuthority
from tls.config import ClientTls
from tls.files import CertificateInvalid, KeyPair, read_certificate
from tls.spiffe import spiffe_id

if TYPE_CHECKING:
    from pathlib import Path

TRUST_DOMAIN = "nagaya.local"
_PROXY = "envoy"
_SUPERVISOR = "supervisor"
_HERE = ("localhost", "127.0.0.1", "::1")
_RENEWED_BEFORE = timedelta(days=30)


class Certificates:
    """The certificate files in a folder, made when missing, and anew before they expire.

    Where they are not `used` everything speaks plaintext.
    """

    def __init__(self, folder: Path, *, used: bool) -> None:
        self._folder = folder
        self._used = used

    @property
    def ca_file(self) -> Path:
        """Whom everything of the clone trusts."""
        return self._folder / "ca.pem"

    @property
    def supervisor(self) -> ClientTls | None:
        """How the supervisor of the stack asks for the health of services."""
        return ClientTls(self.ca_file, self._pair(_SUPERVISOR)) if self._used else None

    @property
    def proxy(self) -> KeyPair | None:
        """What Envoy shows to clients and services."""
        return self._pair(_PROXY) if self._used else None

    def settings(self, workload: str = "") -> dict[str, str]:
        """The settings of a process. Where it speaks plaintext all are empty: the shell may have
        others, which are not meant for it.
        """
        own = self._pair(workload)
        found = {
            "NAGAYA_CA_FILE": str(self.ca_file),
            "NAGAYA_TLS_CERT_FILE": str(own.cert_file),
            "NAGAYA_TLS_KEY_FILE": str(own.key_file),
            "NAGAYA_TLS_CLIENT_CA_FILE": str(self.ca_file),
            "NAGAYA_TLS_TRUST_DOMAIN": TRUST_DOMAIN,
        }
        return found if self._used else dict.fromkeys(found, "")

    def make(self) -> None:
        """Make what is missing or soon expires."""
        if not self._used:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        authority = self._authority()
        for name in SERVICES:
            self._issue(authority, name, (name, *_HERE), spiffe_id(TRUST_DOMAIN, name))
        self._issue(authority, _PROXY, _HERE, f"spiffe://{TRUST_DOMAIN}/{_PROXY}")
        self._issue(authority, _SUPERVISOR, (), f"spiffe://{TRUST_DOMAIN}/{_SUPERVISOR}")

    def _pair(self, name: str) -> KeyPair:
        return KeyPair(self._folder / f"{name}-tls.pem", self._folder / f"{name}-tls-key.pem")

    def _authority(self) -> CertificateAuthority:
        key_file = self._folder / "ca-key.pem"
        if key_file.exists() and self.ca_file.exists():
            return CertificateAuthority.load(self.ca_file.read_bytes(), key_file.read_bytes())
        made = CertificateAuthority.create("Nagaya on this machine")
        for former in self._folder.glob("*-tls.pem"):
            former.unlink()
        files.write_private(key_file, made.key.decode())
        files.write_private(self.ca_file, made.certificate.decode())
        return made

    def _issue(
        self, authority: CertificateAuthority, name: str, hosts: tuple[str, ...], uri: str
    ) -> None:
        pair = self._pair(name)
        if not _expires_soon(pair):
            return
        issued = authority.issue(hosts, uri=uri, days=365)
        files.write_private(pair.key_file, issued.key.decode())
        files.write_private(pair.cert_file, issued.certificate.decode())


def _expires_soon(pair: KeyPair) -> bool:
    try:
        return read_certificate(pair).expires < datetime.now(UTC) + _RENEWED_BEFORE
    except CertificateInvalid:
        return True
