"""Where a gRPC server is, and whether it is reached by TLS."""

from __future__ import annotations

from dataclasses import dataclass

from tls.config import ClientTls

FORMS = (
    "[http://]host:port, https://host[:port] for TLS, or dns:///host:port, dns+https:///host:port"
)
_HTTPS_PORT = 443
_PLAINTEXT = ("", "http", "dns")
_TLS = ("https", "dns+https")


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Host and port of a gRPC server, and how it is reached."""

    host: str
    port: int
    tls: ClientTls | None = None
    """How the server is verified; None for plaintext HTTP/2."""
    resolver: str = ""
    """`dns:///` or `dns://<server>/` where the name stands for several servers."""

    @classmethod
    def parse(cls, text: str, tls: ClientTls | None = None) -> ServerAddress:
        """Read an address of one of FORMS; `tls` is how a server by TLS is verified.

        `host:port` and `http://host:port` are plaintext, `https://host:port` is TLS, on port 443 if
        it names none. `dns:///host:port` and `dns+https:///host:port` are the same for all servers
        that the name resolves to. Raises ValueError for anything else.
        """
        scheme, slashes, rest = text.rpartition("://")
        if slashes and scheme not in (*_PLAINTEXT[1:], *_TLS):
            raise ValueError(
                f"begins with {scheme}://, and there is no such kind: {FORMS} is meant"
            )
        resolver = ""
        if scheme.startswith("dns"):
            server, slash, rest = rest.rpartition("/")
            if not slash:
                raise ValueError(f"has no third slash: {scheme}:///host:port is meant")
            resolver = f"dns://{server}{slash}"
        host, port = _host_and_port(rest, _HTTPS_PORT if scheme == "https" else None)
        return cls(host, port, (tls or ClientTls()) if scheme in _TLS else None, resolver)

    @property
    def target(self) -> str:
        """What gRPC is given."""
        return f"{self.resolver}{self.host}:{self.port}"

    @property
    def balanced(self) -> bool:
        """Whether the name stands for several servers, over which calls are spread."""
        return bool(self.resolver)

    def __str__(self) -> str:
        secure = self.tls is not None
        if self.resolver:
            return f"dns+https{self.target[len('dns') :]}" if secure else self.target
        return f"https://{self.target}" if secure else self.target


def _host_and_port(text: str, default: int | None) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if default is not None and (not colon or text.endswith("]")):
        host, port = text, str(default)
    if not host or set(host) & set("/@?#$ "):
        raise ValueError(f"is not host:port: {FORMS} is meant")
    if not (port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError(f"has no port: {port or 'nothing'} is none")
    return host, int(port)
