"""Why a connection did not come about, in words: gRPC tells it in those of its TLS library."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tls.address import ServerAddress

_UNTRUSTED = (
    "its certificate is of no authority that is trusted here: NAGAYA_CA_FILE names those that are"
)
_BY_WORDS = {
    "certificate has expired": "its certificate has expired",
    "certificate is not yet valid": "its certificate is not valid yet, or a clock is wrong",
    "CERTIFICATE_VERIFY_FAILED": _UNTRUSTED,
    "WRONG_VERSION_NUMBER": "it speaks no TLS: without https:// it is called in plaintext",
}
_OTHER_NAME = "Hostname Verification Check failed"
_CLOSED = "failed to connect to all addresses; last error: UNAVAILABLE: "


def explain(details: str, address: ServerAddress) -> str:
    """Return why TLS failed, or may have; empty when something else is the matter.

    `details` are those of a call that ended as UNAVAILABLE. What a server refuses by TLS 1.3, such
    as a client without a certificate, reaches gRPC as a connection that was closed.
    """
    for words, why in _BY_WORDS.items():
        if words in details:
            return why
    if _OTHER_NAME in details:
        name = address.host if address.tls is None else address.tls.server_name or address.host
        return f"its certificate is for another name than {name}"
    if not (details.startswith(_CLOSED) and details.endswith("Socket closed")):
        return ""
    if address.tls is None:
        return "it closed the connection: if it speaks TLS, its address begins with https://"
    if address.tls.own is None:
        return (
            "it closed the connection: if it wants a certificate, NAGAYA_TLS_CERT_FILE and "
            "NAGAYA_TLS_KEY_FILE name one"
        )
    return (
        "it closed the connection: it may not accept the certificate that it was shown, which has "
        "expired or is of an authority that it does not trust"
    )
