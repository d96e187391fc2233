"""From which address a request comes: that of the connection, or the one that a trusted proxy states."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final

MAX_HOPS: Final = 32
"""Hops of a chain of proxies that are looked at, from the nearest."""
UNKNOWN: Final = "unknown"

_FOR: Final = re.compile(r'(?:^|;)\s*for=("(?:[^"\\]|\\.)*"|[^;]*)', re.IGNORECASE)


class ClientAddresses:
    """Tells addresses of clients apart.

    Args:
        trusted: networks of proxies whose `Forwarded` or `X-Forwarded-For` is believed.

    Raises:
        ValueError: one of them is no network.
    """

    def __init__(self, trusted: Iterable[str]) -> None:
        self._trusted = tuple(ip_network(network, strict=False) for network in trusted)

    def of(self, scope: Mapping[str, Any]) -> str:
        """The address to count a request under: a whole IPv4 address, of IPv6 the /64 that one subscriber has.

        Only the nearest hops are believed, and only as far as they are trusted proxies: whatever stands before the
        first address that is none was written by somebody we do not know (RFC 7239 §8.1).

        Args:
            scope: of ASGI; names of headers in lower case.
        """
        client = scope.get("client")
        return self.stated(str(client[0]) if client else "", scope.get("headers", ()))

    def stated(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """As `of`, for the address of a connection and the headers of a request."""
        if not self.is_trusted(peer):
            return counted(peer)
        for hop in _hops(headers):
            if not self.is_trusted(hop):
                return counted(hop)
        return counted(peer)

    def is_trusted(self, address: str) -> bool:
        """Whether the address is that of a proxy that is believed."""
        if not self._trusted:
            return False
        found = _parsed(address)
        return found is not None and any(found in network for network in self._trusted)


def counted(address: str) -> str:
    """What an address is counted as; text that is no address, like that of a Unix socket, is `unknown`."""
    found = _parsed(address)
    if isinstance(found, IPv6Address):
        return str(IPv6Network((int(found) >> 64 << 64, 64)))
    return UNKNOWN if found is None else str(found)


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    text = address.strip()
    if text.startswith("["):  # RFC 7239 §6: [2001:db8::1]:47011
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(found, "ipv4_mapped", None)
    return mapped if isinstance(mapped, IPv4Address) else found


def _hops(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """Addresses that proxies have seen, the nearest first: of `Forwarded`, else of the older header."""
    forwarded: list[str] = []
    older: list[str] = []
    for name, value in headers:
        if name == b"forwarded":
            forwarded += _elements(value.decode("latin-1"))
        elif name == b"x-forwarded-for":
            older += value.decode("latin-1").split(",")
    if forwarded:
        found = [_FOR.search(element) for element in forwarded]
        return [match[1].strip().strip('"') if match else "" for match in reversed(found)][:MAX_HOPS]
    return [hop.strip() for hop in reversed(older)][:MAX_HOPS]


def _elements(value: str) -> list[str]:
    """The elements of a `Forwarded` header; a comma within quotes divides nothing."""
    return re.findall(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+', value)
