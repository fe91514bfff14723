"""Whom webhooks may be sent to: nobody inside of the network that Nagaya runs in."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TYPE_CHECKING

from yarl import URL

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAT64 = ip_network("64:ff9b::/96")
_COMPATIBLE = ip_network("::/96")


@dataclass(frozen=True, slots=True)
class AllowedReceivers:
    """Public addresses over TLS, and whatever lies in `networks`, over TLS or not."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    def allows(self, text: str, *, encrypted: bool) -> bool:
        """Return whether an address, as a resolver returns it, may be connected to."""
        try:
            address = ip_address(text.partition("%")[0])
        except ValueError:
            return False
        meant = _embedded(address)
        if any(meant in network for network in self.networks if network.version == meant.version):
            return True
        # A global address of multicast is one of many.
        return encrypted and meant.is_global and not meant.is_multicast

    def fault(self, url: str) -> str:
        """Return why nothing may be sent to a URL, as far as it tells; empty if something may.

        The host that is judged is the one that aiohttp connects to, as yarl reads it: it turns
        other digits and dots of Unicode into an address, about which no resolver is asked.
        """
        if not url.isascii():
            return "it has letters that are not ASCII: percent-encode them, a host in Punycode"
        try:
            parts = URL(url)
        except ValueError:
            return "it is no URL"
        host = parts.raw_host or ""
        if not host or "%" in host:
            return "it is no URL"
        encrypted = parts.scheme == "https"
        if not encrypted and not self.networks:
            return "it must begin with https://"
        if is_literal(host) and not self.allows(host, encrypted=encrypted):
            return f"{host} is no public address"
        name = host.removesuffix(".")
        if name == "localhost" or name.endswith(".localhost"):
            allowed: Sequence[str] = ("127.0.0.1", "::1")
            if not any(self.allows(one, encrypted=encrypted) for one in allowed):
                return f"{host} is no public address"
        return ""


def is_literal(host: str) -> bool:
    """Return whether a host is an address, or something that is taken for one without a resolver.

    Such as `127.1` and `2130706433`, which connect to 127.0.0.1.
    """
    return ":" in host or host.replace(".", "").isdigit()


def _embedded(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address to which packets for an IPv6 address may go in the end."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour or address
