"""Who makes a call: by its token, by the certificate of its connection, or by both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from servicekit.errors import TokenInvalid, TokenMissing
from servicekit.identity import workload_principal
from tls.spiffe import workload_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import grpc

    from authentication.verifier import Verifier
    from servicekit.identity import Principal

_SPIFFE_ID = "peer_spiffe_id"


class Callers:
    """Identifies callers.

    A certificate with `spiffe://<trust_domain>/nagaya/<workload>` names the workload that calls:
    without a token it calls for itself, and with one the token is a person's or its own. Other
    certificates, such as a load balancer's, name nobody. None do when `trust_domain` is empty.
    """

    def __init__(self, verifier: Verifier, trust_domain: str) -> None:
        self._verifier = verifier
        self._trust_domain = trust_domain

    async def identify(
        self, metadata: Mapping[str, object], context: grpc.aio.ServicerContext[Any, Any]
    ) -> Principal:
        """Return the caller. Raises TokenMissing, TokenInvalid, IssuerUnavailable."""
        certified = self._certified(context)
        header = metadata.get("authorization")
        if header is None and certified is not None:
            return workload_principal(certified)
        if not isinstance(header, str) or header[:7].lower() != "bearer ":
            raise TokenMissing("the call carries no token")
        token, verifier = header[7:], self._verifier
        principal = verifier.known(token) or await verifier.verify(token)
        if certified is not None and principal.workload not in (None, certified):
            error = TokenInvalid(
                f"the token is of the service {principal.workload}, and the certificate of the "
                f"connection of {certified}"
            )
            error.hint = "Give each service a key and a certificate of its own name."
            raise error
        return principal

    def _certified(self, context: grpc.aio.ServicerContext[Any, Any]) -> str | None:
        if not self._trust_domain:
            return None
        # gRPC has it only of a certificate with exactly one URI, as SPIFFE wants it.
        names = tuple(context.auth_context().get(_SPIFFE_ID, ()))
        return workload_of(names[0].decode(), self._trust_domain) if names else None
