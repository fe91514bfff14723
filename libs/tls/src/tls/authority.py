"""A certificate authority of one's own: for the stack on one machine, and for tests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Sequence

_AUTHORITY = timedelta(days=3650)
_SINCE = timedelta(minutes=5)  # clocks differ


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A certificate and its private key, in PEM."""

    certificate: bytes
    key: bytes


class CertificateAuthority:
    """Issues certificates for hosts and workloads of one installation."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def create(cls, name: str) -> CertificateAuthority:
        """Make an authority that is good for ten years."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        unsigned = _unsigned(_named(name), _named(name), key, now - _SINCE, now + _AUTHORITY)
        usage = x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        made = (
            unsigned.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .sign(key, SHA256())
        )
        return cls(made, key)

    @classmethod
    def load(cls, certificate: bytes, key: bytes) -> CertificateAuthority:
        """Take up one that `create` made. Raises ValueError."""
        private = load_pem_private_key(key, password=None)
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise ValueError("the key of the authority is of another kind")
        return cls(x509.load_pem_x509_certificate(certificate), private)

    @property
    def certificate(self) -> bytes:
        """What those trust who trust it, in PEM."""
        return self._certificate.public_bytes(Encoding.PEM)

    @property
    def key(self) -> bytes:
        return _private(self._key)

    def issue(
        self,
        hosts: Sequence[str],
        *,
        uri: str | None = None,
        starts: datetime | None = None,
        days: float = 90.0,
    ) -> IssuedCertificate:
        """Issue a certificate for hosts, by name or IP address, and perhaps a workload's URI.

        It is good for servers and clients, for `days` after `starts` (now, when None).
        """
        key = ec.generate_private_key(ec.SECP256R1())
        starts = starts or datetime.now(UTC) - _SINCE
        subject, issuer = _named(hosts[0] if hosts else "workload"), self._certificate.subject
        names: list[x509.GeneralName] = [_host(name) for name in hosts]
        if uri is not None:
            names.append(x509.UniformResourceIdentifier(uri))
        uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        issued = (
            _unsigned(subject, issuer, key, starts, starts + timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, SHA256())
        )
        return IssuedCertificate(issued.public_bytes(Encoding.PEM), _private(key))


def _unsigned(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    starts: datetime,
    ends: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(starts)
        .not_valid_after(ends)
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
