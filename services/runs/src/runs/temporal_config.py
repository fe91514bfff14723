"""Where Temporal is, read from the environment. TLS has the names of Temporal's own settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tls.config import ClientTls
from tls.files import KeyPair

if TYPE_CHECKING:
    from pathlib import Path

    from servicekit.settings import Environment


@dataclass(frozen=True, slots=True)
class TemporalConfig:
    """Where Temporal is, where in it, and how it is reached."""

    address: str
    """`host:port`."""
    namespace: str
    task_queue: str
    tls: ClientTls | None = None
    """How it is verified; None for plaintext."""
    api_key: str = field(default="", repr=False)
    api_key_file: Path | None = None
    """Where the key was read, and is read again when it changes; None where it has no file."""

    @property
    def schedule_queue(self) -> str:
        """Where API processes look for the times of schedules."""
        return f"{self.task_queue}-schedules"

    @classmethod
    def from_environment(cls, environment: Environment) -> TemporalConfig:
        address = environment.peer(
            "TEMPORAL_ADDRESS", "Temporal's frontend, `host:port` or `https://host:port`"
        )
        if address.balanced:
            environment.refuse(f"TEMPORAL_ADDRESS={address}: Temporal's client resolves no dns://")
        api_key = environment.secret(
            "TEMPORAL_API_KEY", "the key with which Temporal is called, as in its Cloud", default=""
        )
        return cls(
            address=f"{address.host}:{address.port}",
            namespace=environment.text(
                "NAGAYA_TEMPORAL_NAMESPACE", "Temporal's namespace", default="default"
            ),
            task_queue=environment.text(
                "NAGAYA_TASK_QUEUE", "where workers look for runs", default="runs"
            ),
            tls=_tls(environment, by_address=address.tls is not None, by_key=bool(api_key)),
            api_key=api_key,
            api_key_file=environment.secret_file("TEMPORAL_API_KEY"),
        )


def _tls(environment: Environment, *, by_address: bool, by_key: bool) -> ClientTls | None:
    flag = environment.text(
        "TEMPORAL_TLS",
        "`true` or `false`; when not set, TLS is spoken where the address is `https://`, or one of "
        "the following or `TEMPORAL_API_KEY` is set",
        default="",
    )
    ca_file = environment.optional_path(
        "TEMPORAL_TLS_SERVER_CA_CERT_PATH",
        "certificates of the authorities that Temporal's is of, in PEM, instead of the system's",
    )
    cert_file = environment.optional_path(
        "TEMPORAL_TLS_CLIENT_CERT_PATH", "the certificate that Temporal is shown, in PEM"
    )
    key_file = environment.optional_private_file(
        "TEMPORAL_TLS_CLIENT_KEY_PATH", "its private key, in PEM, without a password"
    )
    server_name = environment.text(
        "TEMPORAL_TLS_SERVER_NAME",
        "the name in Temporal's certificate, where it is not that of its address",
        default="",
    )
    if (cert_file is None) != (key_file is None):
        environment.refuse(
            "TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH belong together"
        )
    own = None if cert_file is None or key_file is None else KeyPair(cert_file, key_file)
    made = ClientTls(ca_file, own, server_name)
    if flag not in ("", "true", "false"):
        environment.refuse(f"TEMPORAL_TLS={flag}: not true or false")
    asked = by_address or by_key or made != ClientTls()
    if flag == "false" and asked:
        environment.refuse("TEMPORAL_TLS=false: the address, the API key or a certificate need TLS")
    return made if asked or flag == "true" else None
