"""Certificate files: read, checked, and read again when they change."""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

# Where systems keep the certificates that they trust; gRPC for Python has a list of its own.
_SYSTEM_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # macOS, BSD
)
_log = logging.getLogger(__name__)


class CertificateInvalid(ValueError):
    """A file does not hold what it should; the message names it and says why."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """The files of a certificate with its chain, and of its private key, in PEM."""

    cert_file: Path
    key_file: Path


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its chain and its private key, in PEM."""

    chain: bytes
    key: bytes
    dns_names: tuple[str, ...]
    """The names of hosts that it is for."""
    expires: datetime


def read_certificate(files: KeyPair) -> Certificate:
    """Read a certificate and its key. Raises CertificateInvalid."""
    chain, key = _read(files.cert_file), _read(files.key_file)
    first = _certificates(files.cert_file, chain)[0]
    try:
        private = load_pem_private_key(key, password=None)
    except (TypeError, ValueError):  # their words may quote the file
        raise CertificateInvalid(
            f"{files.key_file} holds no private key (PEM, no password)"
        ) from None
    if private.public_key() != first.public_key():
        raise CertificateInvalid(f"the key in {files.key_file} is not that of {files.cert_file}")
    now = datetime.now(UTC)
    if first.not_valid_after_utc < now:
        expired = f"{first.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        raise CertificateInvalid(f"the certificate in {files.cert_file} has expired: {expired}")
    return Certificate(chain, key, _dns_names(first), first.not_valid_after_utc)


def read_authorities(file: Path | None) -> bytes | None:
    """Read the certificates of authorities, in PEM; those of the system for None.

    None is returned where the system has none: gRPC's own are used then. Raises CertificateInvalid.
    """
    if file is None:
        paths = (ssl.get_default_verify_paths().cafile, *_SYSTEM_FILES)
        found = next((Path(path) for path in paths if path and Path(path).is_file()), None)
        return None if found is None else _read(found)
    pem = _read(file)
    _certificates(file, pem)
    return pem


class Reread(Generic[T]):
    """What some files hold, read again when one of them has changed.

    While they cannot be read what was read before stays, and the log says why, once while it is the
    same. They are tried again each time: what kept them from being read may have passed.
    """

    def __init__(self, files: Sequence[Path], read: Callable[[], T]) -> None:
        """Read them. Raises CertificateInvalid."""
        self._files = files
        self._read = read
        self._failure = ""
        self._stamp = self._stamps()
        self.value = read()

    def refresh(self) -> bool:
        """Read them if one has changed; return whether there is a new value."""
        stamp = self._stamps()
        if stamp == self._stamp:
            return False
        try:
            self.value = self._read()
        except CertificateInvalid as error:
            self._log_failure(str(error))
            return False
        self._stamp, self._failure = stamp, ""
        files = [str(file) for file in self._files]
        _log.info("certificates were read", extra={"event": "certificate.read", "files": files})
        return True

    def _log_failure(self, why: str) -> None:
        if why == self._failure:
            return
        self._failure = why
        _log.error(
            "the certificates that were read before stay in use",
            extra={"event": "certificate.read_failed", "why": why},
        )

    def _stamps(self) -> tuple[tuple[int, ...], ...]:
        return tuple(_stamp(file) for file in self._files)


def _stamp(file: Path) -> tuple[int, ...]:
    try:
        found = file.stat()
    except OSError:
        return ()
    # A copy may keep the time of its origin; that of its own change it has not.
    return (found.st_ctime_ns, found.st_mtime_ns, found.st_size, found.st_ino)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise CertificateInvalid(f"{file} cannot be read: {error.strerror}") from None


def _certificates(file: Path, pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise CertificateInvalid(f"{file} holds no certificate (PEM)") from None


def _dns_names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(names.get_values_for_type(x509.DNSName))
