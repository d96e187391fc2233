"""Connections to servers: Streamable HTTP, stdio and in-process, in the revision that each server speaks."""

from __future__ import annotations

from workbench.address import check_url
from workbench.events import Misuse
from workbench.gateway.upstream.revision import Answered
from workbench.registry.connection import Connection, Launched
from workbench.registry.server import ServerSpec

__all__ = ["Answered", "upstream_connection"]


def upstream_connection(spec: ServerSpec, launched: Launched) -> Connection:
    """The connection to a server that now runs or is reachable; `open` it before use.

    Raises:
        Misuse: `launched` has neither pipes nor a URL, or its URL must not be dialled.
    """
    if launched.stdin is not None and launched.stdout is not None:
        from workbench.gateway.upstream.stdio import StdioConnection

        return StdioConnection(launched.stdin, launched.stdout, name=spec.id)
    if launched.url:
        from workbench.gateway.upstream.http import HttpConnection
        from workbench.gateway.upstream.pool import Pool

        if launched.guarded:
            # The stored URL is judged again whenever it is used: a check at registration alone can be gone around.
            check_url(launched.url, local_allowed=launched.local_allowed)
            pool = Pool.guarded(local_allowed=launched.local_allowed)
            return HttpConnection(launched.url, launched.headers, name=spec.id, pool=pool)
        return HttpConnection(launched.url, launched.headers, name=spec.id)
    raise Misuse(f"Server {spec.id!r} has neither pipes nor a URL.", hint="Give it a command or a url.")
