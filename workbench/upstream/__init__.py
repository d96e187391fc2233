"""Connections to servers: Streamable HTTP, HTTP+SSE, stdio and in-process, in the revision that each server speaks."""

from __future__ import annotations

from workbench.address_guard import check_url
from workbench.config import Settings
from workbench.events import MisuseError
from workbench.registry.connection import Connection, ConnectionFactory, LaunchContext
from workbench.registry.server import ServerSpec
from workbench.secrets import is_reference, remember_named
from workbench.upstream.negotiation import IncompleteAnswerError

__all__ = ["IncompleteAnswerError", "upstream_connection", "upstreams"]


def upstreams(settings: Settings) -> ConnectionFactory:
    """Makes connections to servers, with the credentials that these settings lead to."""
    return lambda spec, launched: upstream_connection(spec, launched, settings)


def upstream_connection(spec: ServerSpec, launched: LaunchContext, settings: Settings | None = None) -> Connection:
    """The connection to a server that now runs or is reachable; `open` it before use.

    Args:
        spec: the server.
        launched: where it is reached.
        settings: where its secrets are, and who the gateway is; not needed for a server without.

    Raises:
        MisuseError: `launched` has neither pipes nor a URL, or its URL must not be dialled.
    """
    if launched.stdin is not None and launched.stdout is not None:
        from workbench.upstream.stdio import StdioConnection

        return StdioConnection(
            launched.stdin,
            launched.stdout,
            name=spec.id,
            older=launched.older,
            handshake_timeout=float("inf"),  # the registry knows how long a start may take
            exited=launched.exited,
        )
    if launched.url:
        from workbench.upstream.autodetect import behind_url
        from workbench.upstream.http.client_pool import HttpClientPool

        if launched.guarded:
            # The stored URL is judged again whenever it is used: a check at registration alone can be gone around.
            check_url(launched.url, local_allowed=launched.local_allowed, ports=launched.ports)
            pool = HttpClientPool.guarded(local_allowed=launched.local_allowed, ports=launched.ports)
            return behind_url(spec, launched.url, launched.headers, pool)
        if spec.trust != "bundled":
            for name, value in launched.headers.items():
                if not is_reference(value):
                    remember_named(name, value)
        if spec.auth is not None or spec.tls is not None or any(map(is_reference, launched.headers.values())):
            from workbench.upstream.authenticated import authorised

            if settings is None:
                raise MisuseError(
                    f"Server {spec.id!r} needs secrets or certificates.", hint="Open the workbench with its settings."
                )
            return authorised(spec, launched, settings)
        return behind_url(spec, launched.url, launched.headers, HttpClientPool.shared())
    raise MisuseError(f"Server {spec.id!r} has neither pipes nor a URL.", hint="Give it a command or a url.")
