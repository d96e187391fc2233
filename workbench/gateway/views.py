"""Which part of the gateway an endpoint shows: all servers, one of them, or a profile.

A view is a short text, so that sessions, tokens and requests can carry it: empty for `/mcp`, the id of the server for
`/servers/{id}/mcp`, and `profiles/{name}` for `/profiles/{name}/mcp`. Ids have no slash, so no two can be mixed up.
"""

from __future__ import annotations

import re
from typing import Final

PROFILES: Final = "profiles/"

_PREFIX = re.compile(r"(?:/servers/([^/]{1,128})|/(profiles/[^/]{1,128}))?")


def view_of(path: str, door: str = "/mcp") -> str | None:
    """The view that a path stands for; None when it is no endpoint.

    Args:
        path: of the request.
        door: what an endpoint's path ends with: `/mcp`, or that of another transport.
    """
    if not path.endswith(door):
        return None
    found = _PREFIX.fullmatch(path.removesuffix(door))
    return None if found is None else found[1] or found[2] or ""


def server_of(view: str) -> str:
    """The one server behind a view, whose names stand for themselves there; empty when there may be several."""
    return "" if view.startswith(PROFILES) else view


def profile_of(view: str) -> str:
    """The name of the profile that a view shows; empty when it shows none."""
    return view.removeprefix(PROFILES) if view.startswith(PROFILES) else ""
