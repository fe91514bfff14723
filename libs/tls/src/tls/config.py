"""The files of TLS, as settings name them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tls.files import CertificateInvalid, KeyPair, read_authorities, read_certificate
from tls.spiffe import is_trust_domain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class SettingsReader(Protocol):
    """What reads settings and collects the problems."""

    def text(self, name: str, meaning: str, *, default: str | None = None) -> str: ...
    def optional_path(self, name: str, meaning: str) -> Path | None: ...
    def optional_private_file(self, name: str, meaning: str) -> Path | None: ...
    def refuse(self, problem: str) -> None: ...


@dataclass(frozen=True, slots=True)
class ClientTls:
    """How a caller verifies servers, and what it shows to those that ask who calls."""

    ca_file: Path | None = None
    """Whom it trusts, in PEM; None for those that the system trusts."""
    own: KeyPair | None = None
    server_name: str = ""
    """The name that the server's certificate must have; empty for that of its address."""

    @property
    def files(self) -> list[Path]:
        """The files that it names."""
        found = [] if self.ca_file is None else [self.ca_file]
        return found if self.own is None else [*found, self.own.cert_file, self.own.key_file]

    @classmethod
    def from_environment(cls, environment: SettingsReader) -> ClientTls:
        ca_file = environment.optional_path(
            "NAGAYA_CA_FILE",
            "certificates of the authorities that calls to `https://` addresses trust, in PEM, "
            "instead of the system's; read again when it changes",
        )
        if ca_file is not None:
            _check(environment, lambda: read_authorities(ca_file))
        return cls(ca_file, _key_pair(environment))


@dataclass(frozen=True, slots=True)
class ServerTls:
    """What a server shows, and whom it lets connect."""

    own: KeyPair
    client_ca_file: Path | None = None
    """Clients must have a certificate of these authorities; None when they need none."""
    trust_domain: str = ""
    """Certificates with `spiffe://<trust domain>/nagaya/<workload>` name workloads."""

    @classmethod
    def from_environment(cls, environment: SettingsReader, client: ClientTls) -> ServerTls | None:
        """Read what only servers have; `client` is what was read of the same certificate."""
        client_ca_file = environment.optional_path(
            "NAGAYA_TLS_CLIENT_CA_FILE",
            "certificates of the authorities of clients, in PEM: whoever connects must have a "
            "certificate of theirs; read again when it changes",
        )
        if client_ca_file is not None:
            _check(environment, lambda: read_authorities(client_ca_file))
        trust_domain = environment.text(
            "NAGAYA_TLS_TRUST_DOMAIN",
            "in clients' certificates `spiffe://<this>/nagaya/<workload>` names the workload that "
            "calls; without it they name none",
            default="",
        )
        if trust_domain and not is_trust_domain(trust_domain):
            environment.refuse(
                f"NAGAYA_TLS_TRUST_DOMAIN={trust_domain}: not a name of a-z, 0-9, '.', '-', '_'"
            )
        if trust_domain and client_ca_file is None:
            environment.refuse("NAGAYA_TLS_TRUST_DOMAIN needs NAGAYA_TLS_CLIENT_CA_FILE")
        if client.own is not None:
            return cls(client.own, client_ca_file, trust_domain)
        if client_ca_file is not None:
            environment.refuse(
                "NAGAYA_TLS_CLIENT_CA_FILE needs NAGAYA_TLS_CERT_FILE and NAGAYA_TLS_KEY_FILE: "
                "certificates are shown by TLS only"
            )
        return None


def _key_pair(environment: SettingsReader) -> KeyPair | None:
    cert_file = environment.optional_path(
        "NAGAYA_TLS_CERT_FILE",
        "the certificate of this process with its chain, in PEM: with it the API is served by TLS "
        "only, and shown to servers that ask who calls; read again when it changes",
    )
    key_file = environment.optional_private_file(
        "NAGAYA_TLS_KEY_FILE", "its private key, in PEM, without a password"
    )
    if cert_file is not None and key_file is not None:
        own = KeyPair(cert_file, key_file)
        _check(environment, lambda: read_certificate(own))
        return own
    if cert_file is not None or key_file is not None:
        environment.refuse(
            "NAGAYA_TLS_CERT_FILE and NAGAYA_TLS_KEY_FILE belong together: set both or neither"
        )
    return None


def _check(environment: SettingsReader, read: Callable[[], object]) -> None:
    try:
        read()
    except CertificateInvalid as error:
        environment.refuse(str(error))
