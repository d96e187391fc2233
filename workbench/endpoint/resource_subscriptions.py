"""Resources that clients want to hear of: asked for once at the server, however many clients there are."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection
from typing import Final

from workbench.background_tasks import BackgroundTasks
from workbench.events import Call, Caller, MisuseError, Outcome, UnreachableError
from workbench.gateway.call import Gateway
from workbench.registry.connection import Connection, RpcError
from workbench.registry.server import ServerDownError

SUBSCRIBE: Final = "resources/subscribe"
UNSUBSCRIBE: Final = "resources/unsubscribe"
MAX_WATCHED: Final = 10_000
TIMEOUT_S: Final = 10.0


class ResourceSubscriptions:
    """Counts who watches what, and tells servers when the first comes and the last goes.

    Args:
        gateway: decides who may watch, and records it.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._watchers: Counter[tuple[str, str]] = Counter()
        self._tasks = BackgroundTasks("subscriptions to resources")

    @property
    def full(self) -> bool:
        """Whether no further resource can be watched."""
        return len(self._watchers) >= MAX_WATCHED

    async def add(
        self, caller: Caller, server: str, uri: str, *, protocol: str = "", session: str = "", profile: str = ""
    ) -> Outcome:
        """Watch a resource for `caller`, under the rules of any call; where it is allowed, `remove` it some time."""
        call = Call(
            caller=caller,
            tool=f"{server}.{SUBSCRIBE}",
            arguments={"uri": uri},
            source="mcp",
            protocol=protocol,
            session=session,
            profile=profile,
        )
        outcome = await self._gateway.call(call)
        if outcome.ok:
            self._watchers[server, uri] += 1
        return outcome

    def remove(self, watched: Collection[tuple[str, str]]) -> None:
        """Nobody of those who watched these wants to hear of them any more."""
        for server, uri in watched:
            self._watchers[server, uri] -= 1
            if self._watchers[server, uri] <= 0:
                del self._watchers[server, uri]
                self._tasks.start(self._forget(server, uri))

    def renew(self, server: str, connection: Connection) -> list[str]:
        """A new connection knows nothing of what is watched: tell it. The addresses that it is told are returned."""
        again = [uri for of, uri in self._watchers if of == server]
        for uri in again:
            self._tasks.start(_tell(connection, SUBSCRIBE, uri))
        return again

    async def _forget(self, server: str, uri: str) -> None:
        with contextlib.suppress(MisuseError, ServerDownError):
            await _tell(self._gateway.registry.connection(server), UNSUBSCRIBE, uri)


async def _tell(connection: Connection, method: str, uri: str) -> None:
    with contextlib.suppress(RpcError, UnreachableError, TimeoutError):
        await connection.request(method, {"uri": uri}, timeout=TIMEOUT_S)
