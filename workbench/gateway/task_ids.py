"""Tasks of servers (extension `io.modelcontextprotocol/tasks`): their ids as clients know them.

The id that a client gets is sealed and holds the server, the server's own id and the owner. So it outlives a restart of
the gateway, any replica can follow it, and nobody else can use it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from workbench.cluster.sealed_tokens import SealedTokens
from workbench.error_codes import INVALID_PARAMS
from workbench.events import JSON, Call, Caller, Record, Tool
from workbench.gateway.refusals import CallRefusedError

TASKS: Final = "io.modelcontextprotocol/tasks"
METHODS: Final = ("tasks/get", "tasks/update", "tasks/cancel")

NO_TASK: Final = "There is no such task."

_MAX_LENGTH: Final = 8192


class SealedTask(Record, frozen=True, kw_only=True):
    """What is sealed into the id of a task."""

    tenant: str
    subject: str
    server: str
    tool: str
    """Qualified name of what was called."""
    scopes: tuple[str, ...]
    """That were needed for the call, and are needed to follow it."""
    id: str
    """The server's own id."""

    def belongs_to(self, caller: Caller) -> bool:
        """Whether `caller` is the one who began it."""
        return (self.tenant, self.subject) == (caller.tenant, caller.subject)


class TaskIds:
    """Makes and reads the ids of tasks.

    Args:
        home: the state folder, where the key of the seal lies.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._sealed: SealedTokens | None = None

    def read(self, id: Any) -> SealedTask | None:
        """What an id stands for; None when it was not given out here."""
        data = self._seal.open(id) if isinstance(id, str) and len(id) <= _MAX_LENGTH else None
        return msgspec.json.decode(data, type=SealedTask) if data is not None else None

    def of(self, call: Call) -> SealedTask:
        """The task that a call of one of `METHODS` is about.

        Raises:
            CallRefusedError: there is no such task, or it is somebody else's: which of both is not told.
        """
        task = self.read(call.arguments.get("taskId"))
        if task is None or not task.belongs_to(call.caller) or task.server != call.tool.partition(".")[0]:
            raise CallRefusedError("not_found", NO_TASK, rule="tasks", code=INVALID_PARAMS)
        return task

    def shown(self, call: Call, tool: Tool, result: JSON) -> JSON:
        """A result of the server as the client may see it: with the id that is good here."""
        own = result.get("taskId")
        if not isinstance(own, str):
            return result
        if tool.name in METHODS:
            return {**result, "taskId": call.arguments["taskId"]}
        if result.get("resultType") != "task":
            return result
        task = SealedTask(
            tenant=call.caller.tenant,
            subject=call.caller.subject,
            server=tool.server,
            tool=tool.qualified,
            scopes=tool.scopes,
            id=own,
        )
        return {**result, "taskId": self._seal.close(msgspec.json.encode(task))}

    @property
    def _seal(self) -> SealedTokens:
        if self._sealed is None:
            self._sealed = SealedTokens(self._home / "session.key", b"mcp task v1")
        return self._sealed
