"""All replicas of one server, seen as the one server that callers know."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from workbench.config import Settings
from workbench.events import Tool
from workbench.registry.connection import ConnectionFactory
from workbench.registry.definitions.definition_pins import DefinitionPins
from workbench.registry.load_balancer import BalancedConnection, drained
from workbench.registry.managed_server import ManagedServer
from workbench.registry.processes.supervisor import Supervisor
from workbench.registry.registry_events import RegistryEvents
from workbench.registry.server import ReplicaState, ServerSpec, ServerState

DRAIN_TIMEOUT_S: Final = 10.0
"""Seconds that calls under way get to finish before their replica is stopped."""

_BEST_FIRST = ("ready", "starting", "down", "failed", "stopped")


class ReplicaSet:
    """One server. Each replica is launched, watched and restarted by an `ManagedServer` of its own.

    Replicas are copies of the same program, so that the tools of the first one that is ready are those of the server.

    Args:
        spec: the configured server; those behind URLs have a replica for each.
        settings: how many replicas a launched server has, and the bounds of each.
        supervisor: launches processes.
        connect: opens the wire.
        pins: remembers definitions.
        journal: records what happens.
        changed: called when the tools that can be called may be others now.
    """

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
    ) -> None:
        self.spec = spec
        if spec.kind == "url":
            specs = [msgspec.structs.replace(spec, url=url) for url in (spec.url, *spec.more_urls)]
        else:
            specs = [spec] * settings.replicas.get(spec.id, 1)
        self.replicas = [
            ManagedServer(
                each, settings=settings, supervisor=supervisor, connect=connect, pins=pins, changed=changed,
                journal=journal if len(specs) == 1 else journal.of_replica(number), replica=number,
            )
            for number, each in enumerate(specs)
        ]  # fmt: skip
        self.connection = BalancedConnection(spec.id, self.replicas, most=settings.calls_per_replica)

    @property
    def callable(self) -> bool:
        return any(entry.callable for entry in self.replicas)

    @property
    def first(self) -> ManagedServer:
        """The replica that speaks for the server: the first that can be called, else the first."""
        return next((entry for entry in self.replicas if entry.callable), self.replicas[0])

    @property
    def state(self) -> ServerState:
        """The best state that one of the replicas has, with those of all of them when there are several."""
        if len(self.replicas) == 1:
            return self.replicas[0].state
        best = min((entry.state for entry in self.replicas), key=lambda state: _BEST_FIRST.index(state.status))
        return msgspec.structs.replace(
            best,
            restarts=sum(entry.state.restarts for entry in self.replicas),
            under_way=sum(entry.outstanding for entry in self.replicas),
            breaker=next((e.breaker.state for e in self.replicas if e.breaker.state == "closed"), best.breaker),
            replicas=tuple(_brief(entry) for entry in self.replicas),
        )

    @property
    def tools(self) -> list[Tool]:
        return self.first.tools

    @property
    def refused(self) -> dict[str, str]:
        return self.first.refused

    @property
    def output(self) -> list[str]:
        """The last lines of stderr of all replicas."""
        return [line for entry in self.replicas for line in entry.output]

    def start(self) -> None:
        """Begin to bring all replicas up."""
        for entry in self.replicas:
            entry.start()

    async def settled(self) -> None:
        """Wait until each replica was ready or failed for the first time."""
        for entry in self.replicas:
            await entry.settled.wait()

    async def stop(self, *, drain: bool = False) -> None:
        """End all replicas; with `drain` once the calls under way are over, or after ten seconds."""
        if drain:
            await asyncio.gather(*(drained(entry, DRAIN_TIMEOUT_S) for entry in self.replicas))
        await asyncio.gather(*(entry.stop() for entry in self.replicas))

    def suspect(self) -> None:
        """Check the health of all replicas now."""
        for entry in self.replicas:
            entry.suspect()

    async def restart(self) -> None:
        """Bring down and up again: several replicas one after the other, each drained before."""
        for entry in self.replicas:
            if len(self.replicas) > 1:
                await drained(entry, DRAIN_TIMEOUT_S)
            entry.restart()
            await entry.settled.wait()
            entry.draining = False

    async def apply(self, pins: DefinitionPins) -> None:
        """Judge the tools of all replicas again: a definition was accepted, here or elsewhere."""
        for entry in self.replicas:
            judged = entry.tools
            tools = await asyncio.to_thread(pins.check, entry.spec, judged)
            if entry.tools is judged:  # else they were listed anew meanwhile, and judged then
                entry.apply(tools)


def _brief(entry: ManagedServer) -> ReplicaState:
    state = entry.state
    return ReplicaState(
        number=entry.replica,
        status=state.status,
        breaker=state.breaker,
        under_way=entry.outstanding,
        pid=state.pid,
        url=state.url,
        restarts=state.restarts,
        draining=entry.draining,
        last_error=state.last_error,
    )
