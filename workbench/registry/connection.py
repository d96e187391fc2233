"""The wire to one server, as the registry sees it: a protocol that the gateway implements for each transport."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from workbench.events import JSON, UnreachableError, WorkbenchError
from workbench.registry.server import ServerSpec

FOLLOW: Final = "workbench/tasks/follow"
UNFOLLOW: Final = "workbench/tasks/unfollow"
"""What a connection is asked when a task of its server shall be announced; on the wire there is no such method."""


class RpcError(WorkbenchError):
    """The server answered with a JSON-RPC error object."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data


class RequestRefusedError(UnreachableError):
    """The server refused one request, outside of JSON-RPC; it is well, and may answer others.

    Attributes:
        status: of HTTP.
        retry_s: seconds after which it wants to be asked again; 0 when it does not say.
    """

    status: int
    retry_s: int


@dataclass(frozen=True, kw_only=True)
class LaunchContext:
    """What a connection needs in order to talk to a server that now runs or is reachable."""

    url: str = ""
    """Endpoint of Streamable HTTP; empty for stdio."""
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    """To send with every request: the secret of a bundled server, or what the configuration says."""
    process: asyncio.subprocess.Process | None = None
    """The child, when we launched one. The supervisor watches and ends it; a connection does not."""
    stdin: asyncio.StreamWriter | None = None
    stdout: asyncio.StreamReader | None = None
    exited: Callable[[], Awaitable[str]] | None = None
    """Waits for the end of the process and says how it ended."""
    older: bool = False
    """The server is known to understand nothing before `initialize`."""
    guarded: bool = False
    """The URL came from an API caller: resolve and check it with `workbench.address_guard` at every dial."""
    local_allowed: bool = False
    """With `guarded`: loopback addresses are permitted by the setting `local_urls`."""
    ports: tuple[range, ...] = ()
    """With `guarded`: those that may be dialled, as the setting `upstream_ports` says; none: any."""


class Connection(Protocol):
    """One server, opened. Implementations translate to the revision that the server speaks."""

    @property
    def transport(self) -> str:
        """What carries the messages: `http`, `sse`, `stdio` or `memory`, as far as `open` has found out."""

    @property
    def era(self) -> str:
        """Negotiated MCP revision, e.g. `2026-07-28`; empty before `open`."""

    @property
    def server_info(self) -> JSON:
        """How the server introduced itself."""

    @property
    def capabilities(self) -> JSON:
        """What the server says that it can do."""

    @property
    def instructions(self) -> str:
        """What the server says on how to use it."""

    on_notification: Callable[[JSON], None] | None
    """Called with what the server says outside a request, e.g. `notifications/tools/list_changed`."""

    async def open(self) -> None:
        """Find out which revision the server speaks and agree on it.

        Raises:
            UnreachableError: nothing answers, or what answers is no MCP server.
        """

    async def request(
        self,
        method: str,
        params: JSON,
        *,
        timeout: float,
        notify: Callable[[JSON], Awaitable[None]] | None = None,
        meta: JSON | None = None,
        respondent: Any = None,
        longest: float | None = None,
    ) -> JSON:
        """Send one request and return its JSON-RPC result. Cancelling the task cancels it upstream.

        Args:
            method: e.g. `tools/call`.
            params: without `_meta`; the connection adds what the revision demands.
            timeout: seconds until TimeoutError, counted anew with each message about this request.
            notify: awaited with each notification that belongs to this request.
            meta: further `_meta` keys to send along.
            respondent: who answers what the server asks meanwhile (`gateway.upstream.respondent`); None when nobody.
            longest: seconds until TimeoutError whatever the server says; None: `timeout` is counted once.

        Raises:
            RpcError: the server answered with an error object.
            UnreachableError: the server is gone or broke the protocol.
            TimeoutError: no result in time.
        """

    async def notify(self, method: str, params: JSON, *, timeout: float, meta: JSON | None = None) -> None:
        """Send one notification, to which there is no answer; `params`, `meta` and what is raised as in `request`."""

    async def close(self) -> None:
        """Let go of sockets and tasks; never raises for a server that is already gone."""

    @property
    def alive(self) -> bool:
        """Whether a request has a chance; False once the transport is known to be lost."""


ConnectionFactory = Callable[[ServerSpec, LaunchContext], Connection]
