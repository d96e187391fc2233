"""Tasks of servers that clients want to hear of: `notifications/tasks` on `subscriptions/listen` (tasks extension).

A server's announcement says that something has changed. What is passed on is what the client would get if it asked now:
by a call of `tasks/get` under its own rights, on the record, redacted, and with the id that is good here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import Collection
from typing import Final

from workbench.background_tasks import BackgroundTasks
from workbench.events import JSON, Call, Caller, MisuseError, NotRecordedError, UnreachableError
from workbench.gateway.call import Gateway
from workbench.gateway.task_ids import SealedTask
from workbench.registry.connection import FOLLOW, UNFOLLOW, Connection, RpcError
from workbench.registry.server import ServerDownError
from workbench.upstream.negotiation import MODERN

CHANGED: Final = "notifications/tasks"
ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"

MAX_FOLLOWED: Final = 10_000
TIMEOUT_S: Final = 5.0
"""Seconds in which a server has to agree to announce a task."""

Key = tuple[str, str]
"""A server, and its own id of a task there."""


class TaskSubscriptions:
    """Counts who follows which task, and tells servers when the first comes and the last goes.

    Args:
        gateway: knows the servers.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._followers: Counter[Key] = Counter()
        self._agreed: defaultdict[str, set[str]] = defaultdict(set)
        self._heard = asyncio.Event()
        self._tasks = BackgroundTasks("subscriptions to tasks")
        gateway.registry.on_message.append(self._acknowledged)

    @property
    def full(self) -> bool:
        """Whether no further task can be followed."""
        return len(self._followers) >= MAX_FOLLOWED

    async def add(self, tasks: Collection[SealedTask]) -> set[Key]:
        """Follow tasks; those that their servers agreed to announce. `remove` them some time."""
        keys = {(task.server, task.id) for task in tasks}
        new = [key for key in keys if not self._followers[key]]
        self._followers.update(keys)
        try:
            for server, id in new:
                with contextlib.suppress(MisuseError, ServerDownError):
                    await _tell(self._gateway.registry.connection(server), FOLLOW, id)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TIMEOUT_S):
                    while any(id not in self._agreed[server] for server, id in keys):
                        self._heard.clear()
                        await self._heard.wait()
        except BaseException:  # the client went away meanwhile
            self.remove(keys)
            raise
        agreed = {(server, id) for server, id in keys if id in self._agreed[server]}
        self.remove(keys - agreed)
        return agreed

    def remove(self, keys: Collection[Key]) -> None:
        """Nobody of those who followed these wants to hear of them any more."""
        for server, id in keys:
            self._followers[server, id] -= 1
            if self._followers[server, id] <= 0:
                del self._followers[server, id]
                self._agreed[server].discard(id)
                self._tasks.start(self._forget(server, id))

    def renew(self, server: str, connection: Connection) -> None:
        """A new connection knows nothing of what is followed: tell it."""
        for of, id in self._followers:
            if of == server:
                self._tasks.start(_tell(connection, FOLLOW, id))

    def _acknowledged(self, server: str, message: JSON) -> None:
        if (ids := agreed(message)) is not None:
            # of several replicas, one is enough; a server may say more than it was asked
            self._agreed[server] |= {id for id in ids if (server, id) in self._followers}
            self._heard.set()

    async def _forget(self, server: str, id: str) -> None:
        with contextlib.suppress(MisuseError, ServerDownError):
            await _tell(self._gateway.registry.connection(server), UNFOLLOW, id)


class FollowedTasks:
    """The tasks that one stream announces.

    Args:
        gateway: asks for their state.
        caller: whose stream it is.
        profile: through which it came.
        tasks: by key, with the ids that the client knows.
    """

    def __init__(self, gateway: Gateway, caller: Caller, profile: str, tasks: dict[Key, str]) -> None:
        self.ids = tasks
        self._gateway = gateway
        self._caller = caller
        self._profile = profile
        self._told: dict[str, JSON] = {}

    async def state(self, id: str) -> JSON | None:
        """The task as its client may see it now; None when it was told that already, or may not be."""
        server = next(key[0] for key, known in self.ids.items() if known == id)
        call = Call(
            caller=self._caller,
            tool=f"{server}.tasks/get",
            arguments={"taskId": id},
            source="mcp",
            protocol=MODERN,
            profile=self._profile,
        )
        try:
            outcome = await self._gateway.call(call)
        except NotRecordedError:
            return None
        if not outcome.ok or outcome.result is None:
            return None
        found = {key: value for key, value in outcome.result.items() if key not in ("resultType", "_meta")}
        if self._told.get(id) == found:
            return None
        self._told[id] = found
        return found


async def _tell(connection: Connection, method: str, id: str) -> None:
    if connection.era == MODERN:
        with contextlib.suppress(RpcError, UnreachableError, TimeoutError):
            await connection.request(method, {"taskId": id}, timeout=TIMEOUT_S)


def agreed(message: JSON) -> set[str] | None:
    """The tasks that a server agrees to announce, when that is what it says."""
    params = message.get("params")
    if message.get("method") != ACKNOWLEDGED or not isinstance(params, dict):
        return None
    honoured = params.get("notifications")
    ids = honoured.get("taskIds") if isinstance(honoured, dict) else None
    return {id for id in ids if isinstance(id, str)} if isinstance(ids, list) else None
