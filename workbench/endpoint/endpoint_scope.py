"""Which part of the gateway an endpoint shows: all servers, one of them, or a profile.

A view is a short text, so that sessions, tokens and requests can carry it: empty for `/mcp`, the id of the server for
`/servers/{id}/mcp`, and `profiles/{name}` for `/profiles/{name}/mcp`, and the same for `/sse` beside each. Ids have no
slash, so no two can be mixed up.
"""

from __future__ import annotations

import re
from typing import Final

PROFILES: Final = "profiles/"

_PATH = re.compile(r"(?:/servers/([^/]{1,128})|/(profiles/[^/]{1,128}))?/(?:mcp|sse)")


def view_of(path: str) -> str | None:
    """The view that a path stands for; None when it is no endpoint."""
    found = _PATH.fullmatch(path)
    return None if found is None else found[1] or found[2] or ""


def without_slash(path: str) -> str:
    """`path` without one slash at its end, as which clients write the same endpoint."""
    return path[:-1] if path.endswith("/") else path


def server_of(view: str) -> str:
    """The one server behind a view, whose names stand for themselves there; empty when there may be several."""
    return "" if view.startswith(PROFILES) else view


def profile_of(view: str) -> str:
    """The name of the profile that a view shows; empty when it shows none."""
    return view.removeprefix(PROFILES) if view.startswith(PROFILES) else ""
