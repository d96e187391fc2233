"""One server in the registry, and the task that brings it up, watches it, and brings it up again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from time import perf_counter
from typing import Any, TypeVar

import msgspec

from workbench.config import Settings
from workbench.display_text import visible_excerpt
from workbench.events import JSON, Tool, UnreachableError, WorkbenchError, now_us
from workbench.registry.connection import Connection, ConnectionFactory, LaunchContext, RpcError
from workbench.registry.definitions.definition_pins import DefinitionPins
from workbench.registry.definitions.listing import ToolListing, list_tools
from workbench.registry.definitions.listing_changes import tool_changes
from workbench.registry.health import PROBE_TIMEOUT_S, HealthMonitor
from workbench.registry.processes.failed_starts import StartFailures
from workbench.registry.processes.server_process import ServerProcess
from workbench.registry.processes.startup import within_start_timeout
from workbench.registry.processes.supervisor import Supervisor
from workbench.registry.registry_events import RegistryEvents
from workbench.registry.remedies import remedy
from workbench.registry.replica_breaker import BreakerState, ReplicaBreaker
from workbench.registry.server import ServerSpec, ServerState, ServerStatus, shown_url
from workbench.setting_values import port_ranges

START_TIMEOUT = {"bundled": 45.0, "tables": 45.0, "command": 180.0, "url": 120.0}
"""Seconds to become ready; for a launched process only those in which it does nothing. A foreign command may first
download itself (npx, uvx), a program that waits for another one is idle, and a server behind a URL may have to be
started by what stands before it."""

SILENT_START_S = 15.0
"""Seconds after which nobody waits any longer for a server behind a URL that is being started; it is said why."""


STEADY_S = 30.0
"""Seconds of being ready after which the next failure counts as the first."""

RELIST_INTERVAL_S = 60.0
"""Seconds after which tools are listed again although nothing was said: not every server announces changes."""

MIN_RELIST_S = 0.2
"""Seconds between two listings, and ten times what one takes: a server that announces changes without end is not worth
more than a tenth of our time."""

_log = logging.getLogger(__name__)
T = TypeVar("T")


class ManagedServer(ServerProcess):
    """A server, its state, its connection while there is one, and its tools."""

    def __init__(
        self,
        spec: ServerSpec,
        *,
        settings: Settings,
        supervisor: Supervisor,
        connect: ConnectionFactory,
        pins: DefinitionPins,
        journal: RegistryEvents,
        changed: Callable[[], None],
        replica: int = 0,
    ) -> None:
        """
        Args:
            spec: the configured server.
            settings: intervals and timeouts.
            supervisor: launches its process.
            connect: opens the wire.
            pins: remembers definitions.
            journal: records what happens to it.
            changed: called when the tools that can be called may be others now.
            replica: which of several it is, counted from 0.
        """
        super().__init__(spec, replica=replica, supervisor=supervisor, journal=journal)
        self.tools: list[Tool] = []
        self.refused: dict[str, str] = {}
        self.breaker = ReplicaBreaker(self._breaker_moved)
        self.outstanding = 0
        self.busy_since = 0.0
        """Since when calls are under way without a gap, by the clock of the event loop."""
        self.draining = False
        """Gets no further calls, because it is about to be stopped."""
        self.idle = asyncio.Event()
        """Set while no call is under way on a replica that is drained."""
        self.settled = asyncio.Event()
        """Set once the server was ready or failed for the first time."""
        self.on_message: Callable[[str, JSON], None] = lambda id, message: None
        """Told the server's id and what it says outside of requests."""
        self.on_open: Callable[[str, Connection], None] = lambda id, connection: None
        """Told the server's id and each new connection to it."""
        self._settings = settings
        self._connect_to = connect
        self._pins = pins
        self._changed = changed
        self._wake = asyncio.Event()
        self._relist = self._restart = self._was_ready = False
        self._failures = StartFailures(settings.restart_backoff)
        self._listed_at = self._list_from = 0.0
        longest = max((settings.call_timeout, spec.call_timeout_s, *settings.tool_timeouts.values()))
        self._pulse = HealthMonitor(spec.id, journal, interval=settings.health_interval, call_timeout=longest)
        self._task: asyncio.Task[None] | None = None
        self._state = ServerState(
            id=spec.id,
            kind=spec.kind,
            title=spec.title or spec.id,
            description=spec.description,
            url=shown_url(spec.url),
            tenant=spec.tenant,
            notices=spec.notices,
        )

    @property
    def state(self) -> ServerState:
        if self.outstanding != self._state.under_way:
            self._update(under_way=self.outstanding)
        return self._state

    @property
    def reachable(self) -> bool:
        """Whether there is a connection that is not known to be lost."""
        return self.connection is not None and self.connection.alive and self._state.status == "ready"

    @property
    def callable(self) -> bool:
        return self._state.status == "ready" and self.connection is not None

    def start(self) -> None:
        """Begin to bring the server up; `settled` tells when that has come to a first result."""
        self._task = asyncio.create_task(self._run(), name=f"server {self.spec.id}")

    async def stop(self) -> None:
        """End the server and everything it started."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            self._task = None
        await self._let_go()
        self._set("stopped")

    def suspect(self) -> None:
        """Check its health now instead of at the next turn: a call has just failed."""
        self._wake.set()

    def began(self) -> None:
        """A call on it begins."""
        if not self.outstanding:
            self.busy_since = asyncio.get_running_loop().time()
        self.outstanding += 1

    def finished(self) -> None:
        """A call on it is over."""
        self.outstanding -= 1
        if self.draining and not self.outstanding:
            self.idle.set()

    def drain(self) -> None:
        """Let it have no further calls; `idle` tells when those under way are over."""
        self.draining = True
        if self.outstanding:
            self.idle.clear()
        else:
            self.idle.set()

    def restart(self) -> None:
        """Bring it down and up again, without the pause that follows a failure."""
        self.settled.clear()
        self._restart = True
        self._wake.set()

    def apply(self, tools: list[Tool]) -> None:
        """Take `tools` as what the server offers, and say what changed."""
        changes = tool_changes(self.tools, tools)
        self.tools = tools
        self._update(tools=len(tools))
        if changes:
            self._journal.event(self.spec.id, "tools_changed", changes)
            self._changed()

    # --- the life of the server

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        failures = self._failures
        while True:
            began, ready_at = clock(), float("inf")
            try:
                await self._come_up()
                ready_at = clock()
                why = await self._watch()
            except (WorkbenchError, TimeoutError, OSError) as e:
                why = str(e) or f"It did not become ready in {clock() - began:.0f} s."
            except Exception as e:  # noqa: BLE001 - whatever one server sends must not end its supervision
                _log.exception("server %s", self.spec.id)
                why = f"Unexpected {type(e).__name__}: {e}"
            if self.child is not None and self.child.process.returncode is None and "\n" not in why:
                why += self.child.last_words()
            if advice := remedy(why, self.spec.command, self.spec.source):
                why += f"\n{advice}"
            await self._let_go()
            if self._restart or clock() - ready_at > STEADY_S:
                failures.reset()
            self._was_ready = self._was_ready or ready_at < float("inf")
            failures.add(why, was_ready=ready_at < float("inf"))
            pause = 0.0 if self._restart else failures.pause
            self._set("down" if self._was_ready else "failed", why, retry_s=pause)
            self._update(failures=failures.count, retry_us=now_us() + round(pause * 1e6))
            if remark := failures.remark(self.spec.id):
                self._update(last_error=why + remark)
            if not self._restart:
                self.settled.set()
                await self._pause(pause)
            self._update(restarts=self._state.restarts + 1)
            self._journal.event(self.spec.id, "restarting", {"attempt": self._state.restarts})

    async def _come_up(self) -> None:
        started = perf_counter()
        self._relist = self._restart = False
        self._wake.clear()
        if self.spec.kind == "url":
            self._launched = LaunchContext(
                url=await self._supervisor.filled(self.spec.url),
                headers=self.spec.headers,
                guarded=self.spec.source == "registered",
                local_allowed=self._settings.local_urls,
                ports=port_ranges(self._settings.upstream_ports),
            )
            silent = "It accepts connections and has not answered yet; it may be waking up."
            timer = asyncio.get_running_loop().call_later(SILENT_START_S, self._wait_for_start, silent)
            try:
                async with asyncio.timeout(START_TIMEOUT[self.spec.kind]):
                    await self._open()
            finally:
                timer.cancel()
        else:
            idle = START_TIMEOUT[self.spec.kind]
            await within_start_timeout(
                self._start_process(),
                lambda: self.child.pid if self.child is not None else 0,
                longest=self._settings.start_timeout,
                idle=min(idle, self._settings.start_timeout),
                wrote=lambda: getattr(self.connection, "wrote", ""),
                report=self._report_start,
            )
        self._set("ready")
        self._update(failures=0, retry_us=0)
        self.breaker.probed(True)
        found = {name: getattr(self._state, name) for name in ("pid", "era", "version", "tools")}
        self._journal.event(self.spec.id, "ready", {"ms": round((perf_counter() - started) * 1e3), **found})
        self.settled.set()

    def _report_start(self, how: str) -> None:
        if self._state.status == "starting":
            self._update(last_error=how)

    async def _open(self) -> None:
        """Connect, or connect again, and list the tools."""
        await self._disconnect()
        connection = self._connect_to(self.spec, self._launched)
        connection.on_notification = self._heard
        if hasattr(connection, "on_waiting"):
            connection.on_waiting = self._wait_for_start
        self.connection = connection
        await connection.open()
        info = connection.server_info
        self._update(
            era=connection.era,
            version=visible_excerpt(info.get("version"), 100),
            title=self.spec.title or visible_excerpt(info.get("title") or info.get("name"), 200) or self.spec.id,
            description=self.spec.description or visible_excerpt(info.get("description"), 2_000),
            instructions=visible_excerpt(connection.instructions, 10_000),
            transport=connection.transport,
            notices=(*self.spec.notices, *getattr(connection, "notices", ()), *self._notices()),
        )
        of_start = self.child is not None and not self.child.ready
        await self._list(connection, self._settings.start_timeout if of_start else min(self._settings.call_timeout, 60))
        self.on_open(self.spec.id, connection)

    async def _reopen(self) -> None:
        """One new connection: the server was restarted behind its address, or our session with it has expired."""
        if self.spec.stdio:
            raise UnreachableError("It closed its output.")
        self._journal.event(self.spec.id, "reconnecting", {})
        await self._open()

    async def _list(self, connection: Connection, timeout: float) -> None:
        self._relist = False
        try:
            listing = await list_tools(self.spec, connection, timeout)
        except RpcError as e:
            if "tools" in connection.capabilities:
                raise UnreachableError(f"It refused to list its tools: {e} (code {e.code}).") from e
            listing = ToolListing()  # a server of resources or prompts alone
        self._pulse.answered()
        self._listed_at = asyncio.get_running_loop().time()
        tools = await asyncio.to_thread(self._pins.check, self.spec, listing.tools)
        if others := listing.refused != self.refused:
            self.refused = listing.refused
            if listing.refused:
                self._journal.event(self.spec.id, "tools_refused", listing.refused)
        self.apply(tools)
        if others:
            self._changed()

    async def _list_again(self, connection: Connection) -> None:
        """List once more; when that fails the known tools stay, and health checks tell whether the server lives."""
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            await self._list(connection, min(self._settings.call_timeout, 2 * PROBE_TIMEOUT_S))
        except (WorkbenchError, TimeoutError) as e:
            if not self.outstanding:
                self._pulse.missed()
            self._listed_at = asyncio.get_running_loop().time()
            self._journal.event(self.spec.id, "listing_failed", {"why": str(e) or "It took too long."})
        self._list_from = clock() + max(MIN_RELIST_S, 10 * (clock() - started))

    async def _watch(self) -> str:
        """Return why the server has to be brought up again, as soon as it has to."""
        clock = asyncio.get_running_loop().time
        while True:
            turn = min(self._settings.health_interval, self.breaker.probe_in, self._pulse.again_in)
            if self._relist:
                turn = min(turn, max(0.0, self._list_from - clock()))
            await self._unless_ended(self._turn(turn), settle=0.0)
            connection = self.connection
            assert connection is not None
            if self._restart:
                return "A restart was asked for."
            if not connection.alive:
                await self._unless_ended(self._reopen())
            elif self._pulse.steady and (
                (self._relist and clock() >= self._list_from) or clock() - self._listed_at > RELIST_INTERVAL_S
            ):
                await self._unless_ended(self._list_again(connection))
            elif why := await self._unless_ended(self._check(connection)):
                return why

    async def _check(self, connection: Connection) -> str:
        """One health check; returns why the server is given up, or nothing."""
        busy_since = self.busy_since if self.outstanding and self.spec.stdio else None
        beat = await self._pulse.beat(connection, busy_since)
        if beat.busy:
            return ""
        if beat.lost and connection.alive and self.spec.stdio and await self._works():
            beat = beat._replace(lost=False)
        self.breaker.probed(beat.ok)
        if beat.ok:
            self._update(health_us=beat.elapsed_us)
            if self._state.status != "ready":
                self._set("ready")
                self._journal.event(self.spec.id, "ready", {"answers_again": True})
        elif beat.down:
            self._set("down", beat.why)
        return beat.why if beat.lost else ""

    # --- its parts

    def _wait_for_start(self, why: str) -> None:
        """It is said why the server is not there yet, and nobody waits for it any longer."""
        came_up_before = self._was_ready or self._state.status in ("ready", "down")
        self._set("down" if came_up_before else "starting", why)
        self.settled.set()

    def _heard(self, message: JSON) -> None:
        self.on_message(self.spec.id, message)
        if message.get("method") == "notifications/tools/list_changed" and not self._relist:
            self._relist = True
            self._wake.set()

    async def _turn(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._restart:
                    await self._wake.wait()
                    self._wake.clear()

    def _breaker_moved(self, state: BreakerState, why: str) -> None:
        detail = {"why": why, "retry_s": self.breaker.retry_s} if state == "open" else {"why": why}
        self._update(breaker=state)
        self._journal.event(self.spec.id, f"breaker_{state.replace('-', '_')}", detail)
        if state == "open":
            self._wake.set()

    def _update(self, **changes: Any) -> None:
        self._state = msgspec.structs.replace(self._state, **changes)

    def _set(self, status: ServerStatus, why: str = "", **detail: Any) -> None:
        before = self._state
        changes: JSON = {"status": status, "last_error": ""}  # a server that is ready has no error any more
        if status != before.status:
            changes["since_us"] = now_us()
        if status != "ready":
            error = why or before.last_error
            changes |= {"pid": self.child.pid if self.child else 0, "last_error": error, "health_us": 0}
        self._update(**changes)
        if status != "ready" and (status, why) != (before.status, before.last_error):
            self._journal.event(self.spec.id, status, {"why": why, **detail} if why else detail)
        if (before.status == "ready") != (status == "ready"):
            self._changed()
