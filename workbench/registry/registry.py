"""The registry: one place that knows every server and every tool."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

import msgspec

from workbench.config import Settings
from workbench.events import JSON, MisuseError, Record, Tool
from workbench.registry.bundled import configured_servers
from workbench.registry.cluster_sync import ClusterSync
from workbench.registry.configuration.mcp_json import Configuration
from workbench.registry.connection import Connection, ConnectionFactory
from workbench.registry.definitions.definition_pins import DefinitionPins, VaryingAcceptance, acceptance_detail
from workbench.registry.definitions.name_checks import confusable, server_id
from workbench.registry.definitions.varying_definition import DefinitionTemplate
from workbench.registry.processes.supervisor import Supervisor
from workbench.registry.registration import check_registration
from workbench.registry.registry_events import RegistryEvents
from workbench.registry.replica_set import ReplicaSet
from workbench.registry.server import ServerDownError, ServerSpec, ServerState, UnknownToolError
from workbench.registry.tool_catalog import ToolCatalog
from workbench.secrets import SecretResolver
from workbench.suggestions import close_names

if TYPE_CHECKING:
    from workbench.audit import AuditLog


class ReloadResult(Record, frozen=True, kw_only=True):
    """What changed when the configuration was read again; ids of servers."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    """Their entries differ from what ran, so that they were started anew."""


class Registry:
    """Which servers and tools exist, and how they are doing.

    Servers come from three places: the bundled ones, the file `settings.mcp_config`, and those that were registered by
    URL while running. Each is looked after by a task of its own, so that none can hold up another.
    """

    def __init__(
        self,
        settings: Settings,
        audit: AuditLog,
        connect: ConnectionFactory,
        *,
        specs: Collection[ServerSpec] | None = None,
    ) -> None:
        """
        Args:
            settings: which servers, and how patiently they are watched.
            audit: receives registry events and health checks.
            connect: opens the wire to a launched or remote server.
            specs: these servers instead of the bundled and configured ones.
        """
        self.on_message: list[Callable[[str, JSON], None]] = []
        """Functions to call with a server's id and what it says outside of requests, e.g. that its prompts changed."""
        self.on_open: list[Callable[[str, Connection], None]] = []
        """Functions to call with a server's id and each new connection to it, or to one of its replicas."""
        self._settings = settings
        self._journal = RegistryEvents(audit, settings.tenant)
        self.on_event = self._journal.on_event
        """Told of what happens to servers: the id, the event, and details, as they are put on the record."""
        self.supervisor = Supervisor(
            settings.home,
            lambda event, detail: self._journal.event("platform", event, detail),
            SecretResolver.of(settings),
        )
        self._connect = connect
        self._given = specs
        self._entries: dict[str, ReplicaSet] = {}
        self._catalog = ToolCatalog()
        self._pins: DefinitionPins | None = None
        self._sharing: ClusterSync | None = None
        self._editing = asyncio.Lock()
        self._settling: set[asyncio.Task[None]] = set()
        self._alike: dict[str, str] = {}
        self._excluded: dict[str, ServerState] = {}
        self.notices: tuple[str, ...] = ()
        """What was changed or not read of configuration files as a whole, for people."""
        self.problems: tuple[str, ...] = ()
        """Parts of configuration files that should hold servers and do not, for people."""
        self.call_timeouts: dict[str, float] = {}
        """Longest time of a call in seconds, by server, of those whose configuration has one."""

    @property
    def version(self) -> int:
        """Grows with every change of the set of tools that can be called."""
        return self._catalog.version

    @property
    def on_change(self) -> list[Callable[[], None]]:
        """Functions to call, without arguments, whenever `version` has grown."""
        return self._catalog.on_change

    # --- opening and closing

    async def start(self, progress: Callable[[str], None] | None = None, *, patience: float | None = None) -> None:
        """Launch all servers at once and return when each is ready or has failed for the first time.

        Args:
            progress: called with a line for a person whenever one of them is.
            patience: return after so many seconds although some are still starting, as a foreign server may that first
                downloads itself. They go on, and are said to be ready or failed when they are.

        Raises:
            MisuseError: the configuration cannot be meant; nothing was launched then.
        """
        configured = await asyncio.to_thread(self._configured)
        self._pins = DefinitionPins(self._settings)
        self._catalog.names = self._pins.names()
        specs = self._choose(configured, self._pins.registered())
        await self.supervisor.open(launches=any(spec.command for spec in specs))
        for spec in specs:
            self._enter(spec)
        self._settling = {
            asyncio.create_task(self._settle(e, progress), name=f"start of {e.spec.id}") for e in self._entries.values()
        }
        if not self._pins.store.local:
            self._sharing = ClusterSync(self._pins.store, self._in_step)
        if self._settling:
            await asyncio.wait(self._settling, timeout=patience)
        await self._catalog.indexed()

    async def stop(self) -> None:
        """End every server and everything that any of them started, within about three seconds."""
        if self._sharing is not None:
            await self._sharing.stop()
        for waiting in self._settling:
            waiting.cancel()
        await asyncio.gather(*(entry.stop() for entry in self._entries.values()))
        await self._catalog.close()
        await self.supervisor.close()
        if self._pins is not None:
            self._pins.close()
            self._pins = None

    # --- what there is

    def servers(self, tenant: str | None = None) -> list[ServerState]:
        """The state of every server, in the order of the configuration; of those that exist for `tenant`, if given."""
        entries = self._entries.values()
        return [self._noticed(entry.state) for entry in entries if tenant is None or entry.spec.exists_for(tenant)]

    def excluded(self, tenant: str | None = None) -> list[ServerState]:
        """Configured servers that do not run, `disabled` or `invalid`; `last_error` says why and what to do."""
        return [state for state in self._excluded.values() if tenant is None or state.tenant in ("", tenant)]

    def exists(self, id: str, tenant: str) -> bool:
        """Whether there is a server of that id, as far as callers of `tenant` may know."""
        entry = self._entries.get(id)
        if entry is None:
            return any(state.id == id for state in self.excluded(tenant))
        return entry.spec.exists_for(tenant)

    def state(self, id: str) -> ServerState | None:
        """The state of one server, or None when there is none of that id."""
        entry = self._entries.get(id)
        return self._noticed(entry.state) if entry else self._excluded.get(id)

    def spec(self, id: str) -> ServerSpec | None:
        """How one server is configured."""
        entry = self._entries.get(id)
        return entry.spec if entry else None

    def tools(self) -> list[Tool]:
        """The tools of all ready servers, ordered by server and name; the same list until `version` grows."""
        return self._catalog.tools

    def known_tools(self) -> list[Tool]:
        """The tools of all servers as last listed, those included that cannot be called now."""
        return list(self._catalog.known.values())

    def has_tool(self, qualified: str) -> bool:
        """Whether a server lists, or last listed, a tool of that name."""
        return qualified in self._catalog.known

    def resolve(self, qualified: str) -> tuple[Tool, Connection]:
        """The tool of that name and the connection to its server.

        Raises:
            UnknownToolError: no server lists it; with suggestions.
            ServerDownError: its server cannot be called now.
        """
        found = self._catalog.by_name.get(qualified)
        if found is not None:
            tool, entry = found
            if entry.connection.alive:
                return tool, entry.connection
            entry.suspect()
            raise ServerDownError(entry.state)
        server = qualified.partition(".")[0]
        if server in self._excluded and server not in self._entries:
            raise ServerDownError(self._excluded[server])
        entry_of = self._entries.get(server)
        if entry_of is not None and not entry_of.callable:
            raise ServerDownError(entry_of.state)
        raise UnknownToolError(qualified, self.suggest(qualified))

    def connection(self, id: str) -> Connection:
        """The connection to one server, for what is not a tool call.

        Raises:
            MisuseError: there is no such server.
            ServerDownError: it cannot be reached now.
        """
        entry = self._entry(id)
        if not entry.callable:
            raise ServerDownError(entry.state)
        return entry.connection

    def search(self, query: str, limit: int = 20, among: Collection[str] | None = None) -> list[tuple[Tool, float]]:
        """Tools by words and meaning, best first, with a score between 0 and 1.

        Args:
            query: what is to be done, in plain words.
            limit: at most so many.
            among: qualified names to choose from, e.g. those that the caller may see; None means all.
        """
        return self._catalog.search(query, limit, among)

    def suggest(self, name: str, limit: int = 3) -> tuple[str, ...]:
        """Tools that `name` was probably meant to be."""
        return self._catalog.suggest(name, limit)

    def suggest_server(self, id: str, limit: int = 3, *, tenant: str | None = None) -> tuple[str, ...]:
        """Servers that `id` was probably meant to be; among those that exist for `tenant`, if given."""
        return close_names(id, [state.id for state in self.servers(tenant)], limit)

    def output(self, id: str) -> list[str]:
        """The last lines that a launched server wrote to stderr, at most 200."""
        return self._entry(id).output

    def refused(self) -> dict[str, str]:
        """Qualified name → why, of tools whose definition was not accepted."""
        return {f"{e.spec.id}.{name}": why for e in self._entries.values() for name, why in e.refused.items()}

    # --- what one can do

    async def add(self, spec: ServerSpec) -> ServerState:
        """Register a server by URL, now and for later starts. Returns when it is ready or has failed once.

        Raises:
            MisuseError: it has a command (those are read from disk only), a URL that may not be called, or a name
                that is
                taken or can be mistaken for another.
            NotRecordedError: the log cannot record it, so it was not added.
        """
        check_registration(spec, local_allowed=self._settings.local_urls, ports=self._settings.upstream_ports)
        async with self._editing:
            whose = spec.tenant or self._settings.tenant
            spec = msgspec.structs.replace(
                spec, id=self._free_id(spec.id, whose), tenant=whose, trust="configured", source="registered"
            )
            pins = self._opened_pins()
            await self._journal.of_tenant(whose).decided(spec.id, "added", spec.public())
            await asyncio.to_thread(pins.register, spec)
            entry = self._enter(spec)
        await entry.settled()
        await self._catalog.indexed()
        return entry.state

    async def remove(self, id: str) -> None:
        """Forget a registered server, and let go of it once the calls under way on it are over.

        Raises:
            MisuseError: there is none of that id, or it is configured elsewhere.
            NotRecordedError: the log cannot record it, so it was not removed.
        """
        entry = self._entry(id)
        if entry.spec.source != "registered":
            raise MisuseError(
                f"Server {id!r} was not registered while running.", hint=f"It is configured in {entry.spec.source}."
            )
        async with self._editing:
            await self._journal.of_tenant(entry.spec.tenant).decided(id, "removed")
            await asyncio.to_thread(self._opened_pins().forget, id)
            self._entries.pop(id, None)
            self._catalog.names.pop(id, None)
        self._changed()
        await entry.stop(drain=True)
        await self._catalog.indexed()

    async def reload(self, *, patience: float | None = None) -> ReloadResult:
        """Take over what the configuration on disk says now: start what is new, end what is gone, replace what differs.

        Args:
            patience: return after so many seconds although some of the new ones are still starting.

        Raises:
            MisuseError: the configuration cannot be meant; everything runs on as it did.
            NotRecordedError: the log cannot record a change, so nothing was started or ended.
        """
        pins = self._opened_pins()
        async with self._editing:
            configured = await asyncio.to_thread(self._configured)
            wanted = {spec.id: spec for spec in self._choose(configured, await asyncio.to_thread(pins.registered))}
            own = {id: entry.spec for id, entry in self._entries.items()}
            done = ReloadResult(
                added=tuple(id for id in wanted if id not in own),
                removed=tuple(id for id in own if id not in wanted),
                replaced=tuple(id for id in wanted if id in own and wanted[id] != own[id]),
            )
            for id in (*done.removed, *done.replaced):
                await self._journal.of_tenant(own[id].tenant).decided(id, "removed")
            for id in (*done.added, *done.replaced):
                await self._journal.of_tenant(wanted[id].tenant).decided(id, "added", wanted[id].public())
            gone = [self._entries.pop(id) for id in (*done.removed, *done.replaced)]
            for entry in gone:
                self.call_timeouts.pop(entry.spec.id, None)
            if gone:
                self._changed()
                await asyncio.gather(*(entry.stop(drain=True) for entry in gone))
            new = [
                asyncio.create_task(self._settle(self._enter(wanted[id]), None), name=f"start of {id}")
                for id in (*done.added, *done.replaced)
            ]
            self._entries = {id: self._entries[id] for id in wanted}  # as the next start would have them
        self._settling = {task for task in self._settling if not task.done()} | set(new)
        if new:
            await asyncio.wait(new, timeout=patience)
        await self._catalog.indexed()
        return done

    async def restart(self, id: str) -> ServerState:
        """Bring a server down and up again; returns when it is ready or has failed.

        Raises:
            MisuseError: there is none of that id.
        """
        entry = self._entry(id)
        await self._journal.of_tenant(entry.spec.tenant).decided(id, "restart_asked")
        await entry.restart()
        await self._catalog.indexed()
        return entry.state

    def suspect(self, id: str) -> None:
        """A call to that server has just failed: check its health now instead of at the next turn."""
        if entry := self._entries.get(id):
            entry.suspect()

    def withhold_output_schema(self, tool: Tool, why: str) -> None:
        """List `tool` without its output schema from now on: its server's own results break it."""
        if self._catalog.withhold(tool, why):
            self._journal.of_tenant(tool.tenant).event(
                tool.server, "output_schema_withheld", {"tool": tool.name, "why": why}
            )
            self._changed()

    def changes(self, qualified: str) -> JSON:
        """What differs from the pinned definition of a quarantined tool: part → {"pinned", "listed"}.

        Raises:
            UnknownToolError: no ready server lists it.
        """
        if qualified not in self._catalog.by_name:
            raise UnknownToolError(qualified, self.suggest(qualified))
        return self._opened_pins().changes(self._catalog.by_name[qualified][0])

    def varying(self, qualified: str) -> DefinitionTemplate | str:
        """What `accept` with `varying` would agree to for a quarantined tool; or why that is not possible.

        Raises:
            UnknownToolError: no ready server lists it.
        """
        if qualified not in self._catalog.by_name:
            raise UnknownToolError(qualified, self.suggest(qualified))
        return self._opened_pins().template(self._catalog.by_name[qualified][0])

    async def accept(self, qualified: str, *, by: str, seen: str = "", varying: bool = False) -> Tool:
        """Accept the definition of a quarantined tool; the tool can be called again.

        Args:
            qualified: the tool.
            by: who has looked at the change.
            seen: `definition_hash` of what they looked at; empty takes it as it is listed now.
            varying: accept later versions, too, that differ only as this one does; see `varying`.

        Raises:
            UnknownToolError: no ready server lists it.
            MisuseError: it has changed again since it was looked at, or what varies in it cannot be told.
            NotRecordedError: the log cannot record it, so nothing was accepted.
        """
        if qualified not in self._catalog.by_name:
            raise UnknownToolError(qualified, self.suggest(qualified))
        tool, entry = self._catalog.by_name[qualified]
        if seen and seen != tool.definition_hash:
            raise MisuseError(
                f"The definition of {qualified!r} has changed again.", hint="Look at the change once more."
            )
        pins = self._opened_pins()
        detail = await asyncio.to_thread(acceptance_detail, pins, tool, by, varying=varying)
        await self._journal.of_tenant(tool.tenant).decided(tool.server, "definition_accepted", detail)
        await asyncio.to_thread(pins.accept, tool, by, varying=varying)
        await entry.apply(pins)
        return self._catalog.known.get(qualified, tool)

    def varying_acceptances(self) -> list[VaryingAcceptance]:
        """Definitions that were accepted together with what varies in them, also those of servers that do not run."""
        return self._opened_pins().varying()

    async def revoke_varying(self, qualified: str, *, by: str) -> None:
        """Agree no longer to what varies in a definition: a version other than the pinned one is quarantined again.

        Args:
            qualified: the tool; one of `varying_acceptances`.
            by: who ends it.

        Raises:
            NotRecordedError: the log cannot record it, so it goes on.
        """
        server, _, tool = qualified.partition(".")
        entry, pins = self._entries.get(server), self._opened_pins()
        journal = self._journal.of_tenant(entry.spec.tenant if entry else "")
        await journal.decided(server, "varying_acceptance_revoked", {"tool": tool, "by": by})
        await asyncio.to_thread(pins.end_varying, server, tool)
        if entry is not None:
            await entry.apply(pins)

    # --- inside

    def _noticed(self, state: ServerState) -> ServerState:
        """`state` with what a person should know of the server's tools."""
        more = self._catalog.notices.get(state.id, ())
        return msgspec.structs.replace(state, notices=state.notices + more) if more else state

    def _free_id(self, name: str, tenant: str) -> str:
        """The id for a server of `tenant`; of what exists for others alone, a refusal tells nothing."""
        id = server_id(name, [state.id for state in self.servers(tenant)])
        if confusable(id, self._entries):
            raise MisuseError(f"Server name {name!r} cannot be used.", hint="Give the server another name.")
        return id

    async def _in_step(self) -> None:
        """Take over what other gateways registered, removed and accepted; what they recorded is on their record."""
        pins = self._opened_pins()
        async with self._editing:
            found = await asyncio.to_thread(pins.registered)
            there = {s.id: msgspec.structs.replace(s, tenant=s.tenant or self._settings.tenant) for s in found}
            own = {id: entry for id, entry in self._entries.items() if entry.spec.source == "registered"}
            gone = [self._entries.pop(id) for id in own if there.get(id) != own[id].spec]
            for id, spec in there.items():
                if not confusable(id, self._entries):
                    self._enter(spec)
            for id in there:  # every gateway has them in the same order, whoever of them registered which
                if (entry := self._entries.get(id)) is not None and entry.spec.source == "registered":
                    self._entries[id] = self._entries.pop(id)
        if gone:
            self._changed()
            await asyncio.gather(*(entry.stop(drain=True) for entry in gone))
        for entry in list(self._entries.values()):
            await entry.apply(pins)

    def _configured(self) -> Configuration:
        return configured_servers(self._settings) if self._given is None else Configuration(servers=tuple(self._given))

    def _choose(self, configured: Configuration, registered: Collection[ServerSpec]) -> list[ServerSpec]:
        """The servers that should run, in order; what is configured and does not run is kept in sight, with the reason.

        Args:
            configured: what the configuration on disk says.
            registered: those that were registered while running.
        """
        self.notices, self.problems = configured.notices, configured.problems
        before, self._excluded = self._excluded, {}
        for excluded in configured.excluded:
            state = ServerState(
                id=excluded.id, kind="command", title=excluded.title, status=excluded.status,
                last_error=excluded.reason, notices=excluded.notices,
            )  # fmt: skip
            self._exclude(state, before)
        specs = list(configured.servers)
        taken = {spec.id for spec in specs}
        for spec in registered:
            spec = msgspec.structs.replace(spec, tenant=spec.tenant or self._settings.tenant)
            if not (like := confusable(spec.id, taken)):
                specs.append(spec)
            elif spec.id not in self._excluded:
                why = f"The configuration on disk now has {like!r}. Remove this one, or call the other one differently."
                state = ServerState(
                    id=spec.id, kind="url", title=spec.title or spec.id, status="invalid", tenant=spec.tenant,
                    last_error=why,
                )  # fmt: skip
                self._exclude(state, before)
        return specs

    def _exclude(self, state: ServerState, before: Mapping[str, ServerState]) -> None:
        """Keep in sight what does not run; its reason goes on the record once."""
        self._excluded[state.id] = state
        known = before.get(state.id)
        if known is None or (known.status, known.last_error) != (state.status, state.last_error):
            detail = {"why": state.last_error, "status": state.status}
            self._journal.of_tenant(state.tenant).event(state.id, "not_started", detail)

    def _enter(self, spec: ServerSpec) -> ReplicaSet:
        entry = ReplicaSet(
            spec,
            settings=self._settings,
            supervisor=self.supervisor,
            connect=self._connect,
            pins=self._opened_pins(),
            journal=self._journal.of_tenant(spec.tenant),
            changed=self._changed,
        )
        self._entries[spec.id] = entry
        if spec.call_timeout_s:
            self.call_timeouts[spec.id] = spec.call_timeout_s
        for replica in entry.replicas:
            replica.on_message = self._said
            replica.on_open = self._opened
        entry.start()
        return entry

    async def _settle(self, entry: ReplicaSet, progress: Callable[[str], None] | None) -> None:
        await entry.settled()
        if progress is not None:
            state = entry.state
            progress(
                f"{state.id}: ready, {state.tools} tools, {state.transport} {state.era}"
                if state.status == "ready"
                else f"{state.id}: {state.status}. {state.last_error}"
            )

    def _entry(self, id: str) -> ReplicaSet:
        if id in self._excluded and id not in self._entries:
            state = self._excluded[id]
            raise MisuseError(f"Server {id!r} {state.condition} and does not run.", hint=state.last_error)
        if id not in self._entries:
            close = self.suggest_server(id)
            raise MisuseError(
                f"There is no server {id!r}.",
                hint=f"Did you mean {' or '.join(close)}?" if close else "See `workbench servers`.",
            )
        return self._entries[id]

    def _opened_pins(self) -> DefinitionPins:
        if self._pins is None:
            raise MisuseError("The registry is not open.", hint="Call start() first.")
        return self._pins

    def _said(self, id: str, message: JSON) -> None:
        for listener in list(self.on_message):
            listener(id, message)

    def _opened(self, id: str, connection: Connection) -> None:
        for listener in list(self.on_open):
            listener(id, connection)

    def _changed(self) -> None:
        self._catalog.rebuild(self._entries.values())
        for name, found in self._catalog.resemblances.items():
            if self._alike.get(name) != found.other:
                self._alike[name] = found.other
                tool = self._catalog.known[name]
                verb = "imitates" if found.imitates else "resembles"
                sign = {"kind": "look_alike", "where": "name", "excerpt": f"{name} {verb} {found.other}"}
                detail = {"signals": {tool.name: [sign]}, "quarantined": bool(tool.quarantined)}
                self._journal.of_tenant(tool.tenant).event(tool.server, "look_alike", detail)
