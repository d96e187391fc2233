"""Which hosts we answer for, and which pages of a browser may talk to us (DNS rebinding, cross-site requests)."""

from __future__ import annotations

import logging
import re
from typing import Final

from workbench.config import Settings

LOCAL: Final = ("localhost", "127.0.0.1", "[::1]")

MAX_NAMED: Final = 20
"""Refused origins that are named in the log; more would be somebody who tries."""

_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]{0,40}://[a-z0-9._:\[\]-]{1,255}")
_DEFAULT_PORT: Final = re.compile(r"(?<=^http://)([^/]+):80$|(?<=^https://)([^/]+):443$")

_log = logging.getLogger(__name__)


class OriginCheck:
    """Checks the `Host` and `Origin` headers of a request, on every path.

    Accepted are pages of our own address and of the app, and the origins in `allowed_origins`. Other pages of this
    machine are no exception: any program may serve one.

    Args:
        settings: `host`, `public_url`, `app_port`, `allowed_hosts` and `allowed_origins`.
    """

    def __init__(self, settings: Settings) -> None:
        public = settings.public_url.lower().rstrip("/")
        own = (settings.host, f"[{settings.host}]", settings.tls_host, f"[{settings.tls_host}]")
        hosts = (*LOCAL, *own, public.partition("://")[2], *settings.allowed_hosts)
        self._hosts = frozenset(host.lower() for host in hosts if host)
        app = [f"http://{host}:{settings.app_port}" for host in LOCAL]
        self._origins = frozenset(_plain(origin) for origin in (*settings.allowed_origins, public, *app) if origin)
        self._named: set[str] = set()

    def refusal(self, host: str | None, origin: str | None) -> tuple[int, str] | None:
        """Status and words to refuse with; None when the request may go on."""
        name = (host or "").lower()
        if name not in self._hosts and without_port(name) not in self._hosts:
            return 421, "This host is not served here; see the setting allowed_hosts."
        if origin is None:
            return None
        page = _plain(origin)
        if page in self._origins or page in (_plain(f"http://{name}"), _plain(f"https://{name}")):
            return None
        self._name(page)
        return 403, "This origin is not allowed; see the setting allowed_origins."

    def _name(self, page: str) -> None:
        """Say once which origin was refused, so that whoever runs this can allow it."""
        if page in self._named or len(self._named) >= MAX_NAMED or not _ORIGIN.fullmatch(page):
            return
        self._named.add(page)
        _log.warning(
            "A web page of %s was refused. If it is yours, add it to the setting allowed_origins, "
            "for instance WORKBENCH_ALLOWED_ORIGINS=%s.",
            page,
            page,
        )


def _plain(origin: str) -> str:
    """An origin as browsers send it: in lower case, without the default port."""
    return _DEFAULT_PORT.sub(r"\1\2", origin.lower().rstrip("/"))


def without_port(host: str) -> str:
    """`host` without `:port`."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host
