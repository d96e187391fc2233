"""Which addresses a URL from outside may lead to: the guard against server-side request forgery.

`check_url` judges a URL when it is registered; `resolve` judges what its name leads to whenever it is dialled, because
a name may lead elsewhere by then. Who dials has to use the returned address itself and follow no redirect.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from workbench.events import MisuseError, UnreachableError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_HOST = re.compile(r"(?=.{1,253}\Z)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_ODD = re.compile(r"[\x00-\x20\x7f\\]|[^\x00-\x7f]")

# Networks through which an IPv4 address can be reached under another spelling (RFC 6052, 8215, 3056, 4380), and IPv6
# ones that `is_global` of the standard library takes for public.
_REFUSED_V6 = tuple(
    ipaddress.IPv6Network(n)
    for n in ("::/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "fec0::/10", "100::/64", "3fff::/20")
)
# Taken for public too: anycast that ends at the nearest router (RFC 7723, 8155), the relay of 6to4 (RFC 7526), and the
# address under which machines of Azure find the service that configures them.
_REFUSED_V4 = tuple(ipaddress.IPv4Network(n) for n in ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32"))
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)
_LOCAL_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")


class Endpoint(NamedTuple):
    """What is to be dialled."""

    scheme: str
    host: str
    port: int


def check_url(url: str, *, local_allowed: bool = False, ports: Sequence[range] = ()) -> Endpoint:
    """Judge a URL as it is written.

    Args:
        url: the URL of an MCP endpoint, from a caller who is not trusted with our network.
        local_allowed: whether this machine itself may be meant.
        ports: that it may have; any when there are none.

    Raises:
        MisuseError: it is not a plain http(s) URL of a public host; the message says what is wrong with it.
    """
    if len(url) > 2_048 or _ODD.search(url):
        raise _refusal(url, "it has blanks, backslashes, control or non-ASCII characters, or is longer than 2048")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as e:
        raise _refusal(url, str(e)) from e
    host = (parts.hostname or "").removesuffix(".")
    if parts.scheme not in ("http", "https"):
        raise _refusal(url, f"its scheme is {parts.scheme!r}; expected http or https")
    if "@" in parts.netloc or parts.fragment or "#" in url:
        raise _refusal(url, "it has a user, a password or a fragment")
    if port == 0 or "%" in parts.netloc:
        raise _refusal(url, "its host or port is not written plainly")
    endpoint = Endpoint(parts.scheme, host, port or (443 if parts.scheme == "https" else 80))
    if ports and not any(endpoint.port in each for each in ports):
        raise MisuseError(
            f"The URL {url[:200]!r} cannot be registered: port {endpoint.port} is not allowed.",
            hint="See the setting upstream_ports. Servers of your own network go into an mcp.json on disk.",
        )
    literal = _literal(host)
    if literal is not None:
        if why := objection(literal, local_allowed=local_allowed):
            raise _refusal(url, why)
        return endpoint
    if not _HOST.fullmatch(host):
        # Decimal, octal, hexadecimal and short forms of addresses end here too: no real name ends in a number.
        raise _refusal(url, f"{host!r} is neither a host name nor an address in its usual form")
    if (host in _LOCAL_NAMES or host.endswith((".localhost", ".local", ".internal"))) and not local_allowed:
        raise _refusal(url, f"{host!r} is a name of this machine or of a private network")
    return endpoint


def objection(address: Address, *, local_allowed: bool = False) -> str:
    """Why an address must not be dialled on behalf of others; empty if it may."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return objection(address.ipv4_mapped, local_allowed=local_allowed)
        if address == ipaddress.IPv6Address("::1"):
            return "" if local_allowed else f"{address} is this machine"
        if any(address in network for network in _REFUSED_V6):
            return f"{address} carries an IPv4 address or is reserved"
        if int(address) >> 32 & 0xFFFF_FFFF in _ISATAP:  # RFC 5214 §6.1
            return f"{address} carries an IPv4 address"
    elif any(address in network for network in _REFUSED_V4):
        return f"{address} is not a public address"
    if address.is_loopback:
        return "" if local_allowed else f"{address} is this machine"
    if address.is_link_local:
        return f"{address} is link-local, where cloud metadata services are"
    if not address.is_global or address.is_multicast or address.is_reserved or address.is_unspecified:
        return f"{address} is not a public address"
    return ""


async def resolve(host: str, port: int, *, local_allowed: bool = False) -> list[str]:
    """The addresses of `host`, every one of them permitted. Dial one of these, not the name.

    Raises:
        UnreachableError: the name leads nowhere, or to an address that must not be dialled.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as e:
        raise UnreachableError(f"The name {host!r} cannot be resolved: {e}.") from e
    addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
    for text in addresses:
        # One bad address condemns the name: which one would be dialled must not be a matter of luck.
        if why := objection(ipaddress.ip_address(text.partition("%")[0]), local_allowed=local_allowed):
            raise UnreachableError(
                f"The name {host!r} leads to a forbidden address: {why}.",
                hint="Put servers of your own network into an mcp.json on disk.",
            )
    return addresses


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _refusal(url: str, why: str) -> MisuseError:
    return MisuseError(
        f"The URL {url[:200]!r} cannot be registered: {why}.",
        hint="Servers on this machine or in a private network go into an mcp.json on disk, or set local_urls "
        "for loopback.",
    )
