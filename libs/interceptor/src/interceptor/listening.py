"""Where a server listens, in plaintext or by TLS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitoring.metrics import CERTIFICATE_EXPIRY
from servicekit.errors import StartRefused
from tls.credentials import ServerCredentials
from tls.files import CertificateInvalid

if TYPE_CHECKING:
    import grpc

    from tls.config import ServerTls


def add_port(server: grpc.aio.Server, address: str, tls: ServerTls | None) -> int:
    """Have a server listen at an address; return its port.

    Raises StartRefused when a file of TLS cannot be used, and RuntimeError when the port is taken.
    """
    if tls is None:
        return server.add_insecure_port(address)
    try:
        credentials = ServerCredentials(tls)
    except CertificateInvalid as error:
        raise StartRefused(str(error)) from None
    CERTIFICATE_EXPIRY.set_function(credentials.expiry)
    return server.add_secure_port(address, credentials.make())
