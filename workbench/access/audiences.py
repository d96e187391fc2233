"""The URLs by which this gateway is known, and for which endpoints an audience stands (RFC 8707, RFC 9728)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from workbench.config import Settings
from workbench.events import MisuseError

EVERYWHERE = frozenset(("",))
"""Reach of a credential that is good at every endpoint. A server's id stands for the endpoint of that server alone,
`profiles/name` for that of a profile."""

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_PART = re.compile(r"/(?:servers/([^/]{1,128})|(profiles/[^/]{1,128}))/(?:mcp|sse)")


class ProtectedResources:
    """The endpoints as resources of OAuth.

    They come from settings and from the port, never from the `Host` header of a request: whoever holds a token for
    another service of this machine could otherwise name that service, and be let in.

    Args:
        settings: `public_url`, `host`, `allowed_hosts`, `port` and `oauth_audiences`.

    Raises:
        MisuseError: `public_url` is no plain origin.
    """

    def __init__(self, settings: Settings) -> None:
        self.origins = _origins(settings)
        self._others = frozenset(settings.oauth_audiences)
        self._public = urlsplit(settings.public_url).netloc.lower()

    @property
    def origin(self) -> str:
        """The canonical one; empty while no port is known, and then no token is accepted."""
        return self.origins[0] if self.origins else ""

    def base(self, scheme: str, host: str) -> str:
        """The origin to tell a client that reached us at this host: behind a proxy, the public one."""
        return self.origins[0] if self._public and host == self._public else f"{scheme}://{host}"

    def reach(self, audiences: Iterable[str], *, own: bool = False) -> frozenset[str]:
        """Which endpoints a token for `audiences` is good at; empty means none.

        Args:
            own: whether it comes from our own authorization server, which knows nothing of `oauth_audiences`.
        """
        found: set[str] = set()
        for audience in audiences:
            if self._others and not own:
                found |= EVERYWHERE if audience in self._others else set()
                continue
            path = next((audience[len(o) :] for o in self.origins if _within(audience, o)), None)
            if path in ("", "/", "/mcp", "/sse"):
                found |= EVERYWHERE
            elif path is not None and (part := _PART.fullmatch(path)):
                found.add(part[1] or part[2])
        return frozenset(found)


def _within(url: str, origin: str) -> bool:
    return url == origin or url.startswith(origin + "/")


def _with_port(name: str) -> bool:
    return re.search(r":[0-9]+\Z", name) is not None


def _origins(settings: Settings) -> tuple[str, ...]:
    found = []
    if settings.public_url:
        parts = urlsplit(settings.public_url.rstrip("/"))
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.path
            or parts.query
            or "@" in parts.netloc
        ):
            raise MisuseError(
                f"Setting public_url is {settings.public_url!r}.", hint="Expected an origin like https://tools.example."
            )
        found.append(f"{parts.scheme}://{parts.netloc.lower()}")
    if settings.port.isdigit():
        host = f"[{settings.host}]" if ":" in settings.host else settings.host.lower()
        names = () if host in ("0.0.0.0", "[::]") else (host,)  # noqa: S104  compared, not bound
        further = [name.lower() for name in settings.allowed_hosts]
        bare = [name for name in further if not _with_port(name)]
        found += [f"http://{name}:{settings.port}" for name in (*names, *_LOOPBACK, *bare)]
        found += [f"http://{name}" for name in further if _with_port(name)]
    if settings.tls_port.isdigit():
        host = f"[{settings.tls_host}]" if ":" in settings.tls_host else settings.tls_host.lower()
        names = () if host in ("0.0.0.0", "[::]") else (host,)  # noqa: S104  compared, not bound
        bare = [name.lower() for name in settings.allowed_hosts if not _with_port(name)]
        found += [f"https://{name}:{settings.tls_port}" for name in (*names, *_LOOPBACK, *bare)]
    return tuple(dict.fromkeys(found))
