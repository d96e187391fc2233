"""Which hosts we answer for, and which pages of a browser may talk to us (DNS rebinding, cross-site requests)."""

from __future__ import annotations

from typing import Final

from workbench.config import Settings

LOCAL: Final = ("localhost", "127.0.0.1", "[::1]")


class Senders:
    """Checks the `Host` and `Origin` headers of a request, on every path.

    Args:
        settings: `host`, `public_url`, `allowed_hosts` and `allowed_origins`.
    """

    def __init__(self, settings: Settings) -> None:
        public = settings.public_url.lower().rstrip("/")
        own = (settings.host, f"[{settings.host}]", settings.tls_host, f"[{settings.tls_host}]")
        hosts = (*LOCAL, *own, public.partition("://")[2], *settings.allowed_hosts)
        self._hosts = frozenset(host.lower() for host in hosts if host)
        origins = (*settings.allowed_origins, public)
        self._origins = frozenset(origin.lower().rstrip("/") for origin in origins if origin)

    def refusal(self, host: str | None, origin: str | None) -> tuple[int, str] | None:
        """Status and words to refuse with; None when the request may go on."""
        name = (host or "").lower()
        if name not in self._hosts and without_port(name) not in self._hosts:
            return 421, "This host is not served here; see the setting allowed_hosts."
        if origin is not None and origin.lower() not in self._origins:
            page = origin.lower().removeprefix("http://").removeprefix("https://")
            if "://" not in origin or without_port(page) not in LOCAL:
                return 403, "This origin is not allowed; see the setting allowed_origins."
        return None


def without_port(host: str) -> str:
    """`host` without `:port`."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host
