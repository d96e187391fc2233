"""The process behind a server, and the connection to it: launched, opened, let go of."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, TypeVar

from workbench.events import UnreachableError
from workbench.registry.connection import Connection, LaunchContext
from workbench.registry.processes.activity import works
from workbench.registry.processes.child_process import MAX_TAIL_LINES, ChildProcess, unless_ended
from workbench.registry.processes.stderr_lines import useful_lines
from workbench.registry.processes.supervisor import Supervisor
from workbench.registry.registry_events import RegistryEvents
from workbench.registry.server import ServerSpec

MAX_BUSY_S = 600.0
"""Seconds of silence after which a server is given up although its processes work."""

_log = logging.getLogger(__name__)
T = TypeVar("T")


class ServerProcess:
    """What a server in the registry has of a process and a connection, while it has one.

    Args:
        spec: the configured server; behind a URL there is no process.
        replica: which of several it is, counted from 0.
        supervisor: launches the process.
        journal: records what happens to it.
    """

    def __init__(self, spec: ServerSpec, *, replica: int, supervisor: Supervisor, journal: RegistryEvents) -> None:
        self.spec = spec
        self.replica = replica
        self.connection: Connection | None = None
        self.child: ChildProcess | None = None
        self._supervisor = supervisor
        self._journal = journal
        self._launched = LaunchContext()
        self._output: deque[str] = deque(maxlen=MAX_TAIL_LINES)
        self._older = False
        """Known to understand nothing before `initialize`."""

    @property
    def output(self) -> list[str]:
        """The last lines of stderr (over HTTP also of stdout), of earlier processes of this server too."""
        return [*self._output, *(self.child.tail if self.child is not None else ())][-MAX_TAIL_LINES:]

    async def _open(self) -> None:
        """Connect to what was launched, and learn what is to be known of it."""
        raise NotImplementedError

    def _update(self, **changes: Any) -> None:
        """Change the public state of the server."""
        raise NotImplementedError

    async def _start_process(self) -> None:
        """Launch the process and open the connection to it, a second time if it did not survive the first question."""
        try:
            await self._launch()
        except UnreachableError as e:
            if self._older or not getattr(self.connection, "probed", False) or self._agreed_era():
                raise
            # Some servers end when the first message is not `initialize`; nothing tells that from other reasons.
            self._journal.event(self.spec.id, "started_again", {"why": str(e)})
            await self._let_go()
            self._older = True
            try:
                await self._launch()
            except BaseException:
                self._older = False
                raise

    async def _launch(self) -> None:
        self.child = await self._supervisor.launch(self.spec, self.replica)
        self._launched = replace(self.child.launched, older=self._older)
        self._update(pid=self.child.pid, url=self._launched.url)
        try:
            await self._unless_ended(self._open())
        except UnreachableError as e:
            lines = [] if "\n" in str(e) else useful_lines(getattr(self.connection, "output", ()))
            if not lines:
                raise
            raise UnreachableError("\n".join([str(e), *lines])) from e  # some write to standard output what is wrong
        self.child.ready = True
        # Who does not answer the first question is not asked it at every start.
        self._older = self._older or getattr(self.connection, "ignores_probe", False)

    def _notices(self) -> tuple[str, ...]:
        if not (self._older or getattr(self.connection, "ignores_probe", False)):
            return ()
        return ("It understands nothing before `initialize`, so that it is not asked for its revisions.",)

    def _agreed_era(self) -> str:
        """The revision that the current connection has agreed on."""
        return self.connection.era if self.connection is not None else ""

    async def _unless_ended(self, work: Coroutine[Any, Any, T], *, settle: float = 0.1) -> T:
        return await (work if self.child is None else unless_ended(self.child, work, settle))

    async def _works(self) -> bool:
        """Whether the process uses the processor, and has not done so for too long in silence."""
        silent = asyncio.get_running_loop().time() - getattr(self.connection, "heard_at", 0.0)
        return self.child is not None and silent < MAX_BUSY_S and await works(self.child.pid)

    async def _disconnect(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.on_notification = None
            try:
                async with asyncio.timeout(1.0):
                    await connection.close()
            except Exception:  # noqa: BLE001 - closing what is broken already must not keep us from going on
                _log.exception("closing the connection to %s", self.spec.id)

    async def _let_go(self) -> None:
        await self._disconnect()
        child, self.child = self.child, None
        if child is not None:
            try:
                await self._supervisor.end(child)
            finally:
                self._output.extend(child.tail)
