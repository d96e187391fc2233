"""Redirects of a POST: which are followed, and why others are not."""

from __future__ import annotations

from typing import Final

from yarl import URL

from workbench.upstream.error_text import clean
from workbench.upstream.http.response import HttpResponse
from workbench.upstream.negotiation import NotMcpError

MAX_REDIRECTS: Final = 3

REPEATING: Final = frozenset({307, 308})
"""Statuses after which the same request is to be sent to the other address (RFC 9110 §15.4.8, §15.4.9)."""

_REDIRECTS: Final = frozenset({301, 302, 303, *REPEATING})
_SIGN_IN: Final = ("login", "signin", "sign-in", "sign_in", "oauth", "authorize", "sso", "auth/")


def redirected(response: HttpResponse, url: str, server: str, *, repeated: bool = False) -> str:
    """Where to send the same request again.

    Only addresses of the same origin are followed, and from `http` to `https` of the same host on their default
    ports: credentials go nowhere where the configuration did not send them.

    Args:
        response: the redirect.
        url: what was asked.
        server: how to call the server in messages.
        repeated: the request was a GET, which every redirect leaves as it is.

    Raises:
        ApprovalRefusedError: it leads elsewhere, or it is a status that turns a POST into a GET. The message says
            where to.
    """
    status, location = response.status, response.headers.get("Location", "").strip()
    try:
        target = URL(url).join(URL(location)).with_fragment(None) if location else None
    except ValueError:
        target = None
    shown = clean(str(target) if target is not None else location)
    if target is None or not target.host or target.scheme not in ("http", "https"):
        words = f"Server {server!r} redirects to {shown!r} (HTTP {status}), which is no address."
        raise NotMcpError(words, status, hint="Configure the final address.")
    if not _same_place(URL(url), target) or target.user is not None:
        words = f"Server {server!r} redirects to {shown!r} (HTTP {status}), which is another origin."
        raise NotMcpError(words, status, hint=_elsewhere(target))
    if status not in REPEATING and not repeated:
        words = f"Server {server!r} redirects to {shown!r} (HTTP {status}), which does not apply to a POST."
        raise NotMcpError(words, status, hint="Configure that address instead.")
    return str(target)


def is_redirect(status: int) -> bool:
    """Whether a status says that the answer is elsewhere."""
    return status in _REDIRECTS


def _same_place(here: URL, there: URL) -> bool:
    if here.host != there.host:
        return False
    upgraded = here.scheme == "http" and there.scheme == "https" and (here.port, there.port) == (80, 443)
    return upgraded or (here.scheme, here.port) == (there.scheme, there.port)


def _elsewhere(target: URL) -> str:
    if any(word in target.path.lower() for word in _SIGN_IN):
        return "That looks like a page for signing in: set `auth` or headers of this server in its configuration."
    return "If you trust that address, configure it instead."
