"""All rooms of one workbench in one process, on one event loop: what `workbench up` and `workbench.open()` run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, aclosing
from typing import Any

from anyio import CancelScope

from workbench.access import Access
from workbench.access.redis_failed_credentials import credential_failures
from workbench.agent import Agent, ProviderStatus
from workbench.agent.provider_choice import Chooser
from workbench.audit import AuditLog
from workbench.audit.format import records
from workbench.cluster.shared_byte_quota import byte_quota
from workbench.config import Settings, prepare_home
from workbench.events import (
    JSON,
    AnyRunEvent,
    Call,
    Caller,
    MisuseError,
    NotRecordedError,
    Outcome,
    RunDone,
    RunStarted,
    Source,
    Tool,
    TurnDone,
    UnauthenticatedError,
    UnreachableError,
    new_id,
    now_us,
)
from workbench.gateway import Gateway
from workbench.gateway.profiles import ProfileGateway
from workbench.platform import profile_listing
from workbench.platform.approval_inbox import ApprovalInbox
from workbench.platform.compactor_process import CompactorProcess
from workbench.platform.connection_limits import ConnectionCounts
from workbench.platform.conversation_turns import messages
from workbench.platform.credential_recorder import CredentialRecorder
from workbench.platform.housekeeping import Housekeeping
from workbench.platform.load_run import check_load
from workbench.platform.sql_process import SqlProcess
from workbench.policy import Approval, Policy
from workbench.policy.approvals.slack import SlackChannel
from workbench.registry import (
    ConfigurationRemarks,
    ConnectionFactory,
    Registry,
    ReloadResult,
    ServerSpec,
    ServerState,
    registration,
)
from workbench.secrets import SecretResolver
from workbench.upstream import upstreams
from workbench.version import __version__

Progress = Callable[[str], None]

_log = logging.getLogger(__name__)

START_TIMEOUT_S = 20.0
"""Seconds that a start waits for the slowest server; a foreign one that downloads itself first becomes ready later."""


class Platform:
    """Owns the log, the registry with its servers, the gateway and the agent; opened and closed as a whole."""

    def __init__(
        self,
        settings: Settings,
        audit: AuditLog,
        access: Access,
        policy: Policy,
        registry: Registry,
        gateway: Gateway,
        chooser: Chooser | None = None,
    ) -> None:
        self.settings = settings
        self.audit = audit
        self.access = access
        self.policy = policy
        self.registry = registry
        self.gateway = gateway
        self.agent = Agent(
            settings,
            gateway,
            wait_for_approval=self._approved,
            record=self._record_event,
            budget=policy.spending,
            chooser=chooser,
        )
        self.sql = SqlProcess(settings.home, told=self._happened)
        self.started_us = now_us()
        self._runs: dict[str, Caller] = {}
        self.compactor: CompactorProcess | None = None
        self._expiring: asyncio.Task[None] | None = None
        self.connections = ConnectionCounts.of(settings)
        """What the listeners of this platform hold."""
        profile_listing.follow(gateway, self._happened)
        access.admission.failures = credential_failures(settings)
        access.admission.failures.on_failure = CredentialRecorder(audit, settings.tenant).take
        self.upkeep = Housekeeping(self)
        self.inbox = ApprovalInbox(self)
        self.slack: SlackChannel | None = None
        if settings.slack_channel:
            self.slack = SlackChannel(settings, lambda roles: access.roles.scopes(roles), self.inbox.decide_in_slack)
            policy.approvals.on_request.append(self.slack.announce)

    @classmethod
    async def open(
        cls,
        settings: Settings,
        *,
        progress: Progress | None = None,
        connect: ConnectionFactory | None = None,
        specs: Collection[ServerSpec] | None = None,
        chooser: Chooser | None = None,
    ) -> Platform:
        """Start everything; returns when every server is ready or has failed to become so.

        Args:
            settings: of the workbench.
            progress: called with what a person who waits should know.
            connect: makes the connections to servers; None: over the network and over pipes.
            specs: these servers instead of the bundled and configured ones.
            chooser: who chooses the provider of a run; None: as the settings and the environment say.

        Raises:
            MisuseError: the state folder is corrupt or foreign, or a setting cannot be meant.
            NotRecordedError: the log cannot be written.
        """
        prepare_home(settings.home)
        await SecretResolver.of(settings).prepare(settings)
        audit = await AuditLog.open(settings, quota=byte_quota(settings))
        registry: Registry | None = None
        rooms = ExitStack()
        try:
            access = Access(settings)
            rooms.callback(access.close)
            policy = Policy(settings)
            rooms.callback(policy.close)
            access.tokens.check()
            registry = Registry(settings, audit, connect or upstreams(settings), specs=specs)
            gateway = Gateway(settings, registry, access, policy, audit)
            platform = cls(settings, audit, access, policy, registry, gateway, chooser)
            await registry.start(progress, patience=START_TIMEOUT_S)
            for problem in gateway.profiles.problems():
                (progress or _log.warning)(problem)
            gateway.open()
            platform._expiring = asyncio.create_task(platform.inbox.keep_expiring(), name="expiry of approvals")
            platform.upkeep.start()
        except BaseException:
            with CancelScope(shield=True):  # whoever interrupts a start gets it undone all the same
                if registry is not None:
                    await registry.stop()
                rooms.close()
                await audit.close()
            raise
        return platform

    async def close(self) -> None:
        """Stop runs, servers and helpers, then seal the log. Safe to call twice."""
        await self.agent.close()
        await self.upkeep.stop()
        if self._expiring is not None:
            self._expiring.cancel()
            await asyncio.gather(self._expiring, return_exceptions=True)
        await self.policy.disconnect()
        await self.access.admission.failures.disconnect()
        if self.slack is not None:
            await self.slack.close()
        if self.compactor is not None:
            await self.compactor.close()
        await self.sql.close()
        await self.gateway.close()
        await self.registry.stop()
        await self.audit.close()
        self.policy.close()
        self.access.close()

    async def start_compactor(self) -> None:
        """Start the low-priority child that moves sealed segments of the log into Parquet, and keep it running."""
        self.compactor = CompactorProcess(
            self.settings.home,
            adopt=self.adopt,
            told=self._happened,
            environment=self.registry.supervisor.environment,
        )
        await self.compactor.start()

    def _happened(self, event: str, detail: JSON) -> None:
        """Something happened to a process that helps the platform: on the record, when that can be written."""
        tenant = self.settings.tenant
        try:
            self.audit.put(tenant, records.registry_event("platform", event, detail, tenant=tenant))
        except NotRecordedError as e:
            _log.warning("%s was not recorded: %s", event, e)

    def adopt(self, pid: int) -> None:
        """Have a process that was launched here end with us, however we end."""
        self.registry.supervisor.adopt(pid)

    # --- who, and what there is ------------------------------

    async def authenticate(
        self, headers: Sequence[str], scope: Mapping[str, Any] | None = None, door: str = "rest"
    ) -> Caller:
        """The caller that the `Authorization` headers of a request stand for.

        Args:
            headers: values of the header.
            scope: of ASGI; without it, nobody is counted who shows a wrong credential.
            door: for the record and the counters.

        Raises:
            UnauthenticatedError: none, more than one, or not a valid one; or too many that were not, from that address.
        """
        if len(headers) > 1:
            raise UnauthenticatedError("Two Authorization headers were sent.", hint="Send one.")
        presented = headers[0] if headers else None
        if scope is None:
            return await self.access.authenticate_async(presented)
        return await self.access.admission.authenticate(scope, presented, door=door)

    def operates(self, caller: Caller) -> bool:
        """Whether the caller is of the tenant that runs this platform: the setting `tenant`."""
        return caller.tenant == self.settings.tenant

    def servers(self, caller: Caller | None = None) -> list[ServerState]:
        """The servers that exist for the caller's tenant, also those that their configuration keeps from running; all
        of them for this very process."""
        tenant = caller.tenant if caller else None
        states = [*self.registry.servers(tenant), *self.registry.excluded(tenant)]
        return states if caller is None else [self.gateway.outbound.server(state, caller) for state in states]

    def configuration(self, caller: Caller) -> ConfigurationRemarks:
        """What of the configuration files as a whole is wrong or not used; for who runs this workbench alone."""
        if not self.operates(caller):
            return ConfigurationRemarks()
        found = {"problems": list(self.registry.problems), "notices": list(self.registry.notices)}
        if not caller.has("pii:read"):
            found = self.gateway.outbound.prose(found, caller.tenant)
        return ConfigurationRemarks(problems=tuple(found["problems"]), notices=tuple(found["notices"]))

    def tools(self, caller: Caller, words: str = "", limit: int = 50, profile: str = "") -> list[Tool]:
        """The tools that `caller` may call, everywhere or through a profile: all, or the best matches for `words`.

        Raises:
            MisuseError: there is no such profile.
        """
        if profile:
            self.gateway.profiles.named(profile)
        if not words.strip():
            return self.gateway.tools(caller, profile)
        return [tool for tool, _ in self.gateway.search(caller, words, limit, profile)]

    def scopes(self) -> list[str]:
        """Every scope that some tool needs which exists for all tenants."""
        return sorted({scope for tool in self.registry.tools() if not tool.tenant for scope in tool.scopes})

    def status(self, caller: Caller | None = None) -> JSON:
        """Version, caller, and servers and runs of their tenant; for who runs the platform also how it is.

        Args:
            caller: who asks; None is this very process, which sees everything.
        """
        servers = self.servers(caller)
        status = {
            "version": __version__,
            "started_us": self.started_us,
            "servers": {s.id: s.status for s in servers},
            "tools": sum(s.tools for s in servers if s.status == "ready"),
            "runs": sorted(run for run, whose in self._runs.items() if caller is None or whose.tenant == caller.tenant),
        }
        if caller is not None:
            status["caller"] = {
                "tenant": caller.tenant,
                "subject": caller.subject,
                "roles": caller.roles,
                "scopes": sorted(caller.scopes),
            }
        return status | self._operation() if caller is None or self.operates(caller) else status

    def _operation(self) -> JSON:
        return {
            "home": str(self.settings.home),
            "record": {
                "failed": self.audit.failed,
                "mode": self.settings.audit_mode,
                "unwitnessed": self.audit.unwitnessed,
                "bytes_per_hour": self.audit.quota.per_hour,
                "full_tenants": self.audit.quota.full(),
                "refused": dict(self.audit.quota.refused),
            },
            "policy": {
                "revision": self.policy.revision,
                "engine": self.policy.engine.name,
                "problem": self.policy.problem,
            },
            "access": {"problem": self.access.problem},
            "control": {"store": self.access.store.where, "problem": self.access.store.problem},
            "slack": {"problem": self.slack.problem} if self.slack else None,
        }

    def metrics(self, caller: Caller | None = None) -> bytes:
        """Counters and histograms in Prometheus' text format: of the caller's tenant, or of all for who runs them."""
        from workbench.platform.prometheus import exposition

        return exposition(self, None if caller is None or self.operates(caller) else caller.tenant)

    # --- calls and questions ------------------------------

    async def call(self, call: Call) -> Outcome:
        return await self.gateway.call(call)

    def providers(self) -> list[ProviderStatus]:
        return self.agent.providers()

    async def ask(
        self,
        question: str,
        caller: Caller,
        *,
        provider: str | None = None,
        model: str | None = None,
        history: Sequence[JSON] = (),
        source: Source = "agent",
        profile: str = "",
    ) -> AsyncIterator[AnyRunEvent]:
        """Answer `question`; every step is yielded as it happens, and the run is on the record before it is done.

        Closing the generator, or `cancel(run)`, stops provider and tool calls.

        Args:
            history: earlier turns as `{"role": "user" | "assistant", "text": …}`.
            profile: through which the tools are called; empty: all that `caller` may call.

        Raises:
            MisuseError: there is no such profile.
            NotRecordedError: the tenant has used up what it may record in this hour.
        """
        self.audit.quota.check(caller.tenant)
        within = self.gateway.profiles.named(profile) if profile else None
        await self.gateway.judge(caller)
        run = new_id()
        self._runs[run] = caller
        try:
            events = self.agent.ask(
                question, caller, provider=provider, model=model, run=run, history=messages(history), source=source,
                toolbox=ProfileGateway(self.gateway, profile) if within else None,
                instructions=within.instructions if within else "",
            )  # fmt: skip
            async with aclosing(events) as stream:  # type: ignore[type-var]
                async for event in stream:
                    yield event
        finally:
            del self._runs[run]

    async def budget(self, caller: Caller) -> JSON:
        """What the caller's runs may use, and have used today (UTC).

        Raises:
            UnreachableError: it cannot be looked up.
        """
        spending = self.policy.spending
        tokens, dollars = await spending.used(caller)
        return {"limits": spending.limits(caller), "used_today": {"tokens": tokens, "cost_usd": dollars}}

    def cancel(self, run: str, caller: Caller) -> bool:
        """Stop a run of the caller's tenant; False when there is none."""
        owner = self._runs.get(run)
        return owner is not None and owner.tenant == caller.tenant and self.agent.stop(run)

    async def _record_event(self, event: AnyRunEvent, started: RunStarted, caller: Caller, source: Source) -> None:
        """Called before an event is handed out: what could not be recorded is not answered."""
        if isinstance(event, TurnDone):
            self.audit.put(caller.tenant, records.turn(event, caller, started.provider, started.model))
        elif isinstance(event, RunDone):
            record = records.run(started, event, caller, source=source)
            record["data"] = self.policy.redactor.record(record["data"], caller.tenant)
            await self.audit.write(caller.tenant, record)

    async def _approved(self, approval: str, timeout: float) -> bool:
        try:
            decided = await self.policy.approvals.wait(approval, timeout)
        except UnreachableError:
            return False
        return decided is not None and decided.status == "approved"

    # --- administration; every step of it is on the record ------------------------------

    async def approvals(self, caller: Caller) -> list[Approval]:
        """What waits for a human in the caller's tenant."""
        return await self.inbox.pending(caller)

    async def decide(self, approval: str, approve: bool, caller: Caller, *, via: str, **more: Any) -> Approval:
        """Approve or deny one waiting call; see `ApprovalInbox.decide`."""
        return await self.inbox.decide(approval, approve, caller, via=via, **more)

    async def expire_approvals(self) -> int:
        """End approvals that nobody decided or used in time, each on the record; how many there were."""
        return await self.inbox.expire()

    async def record_access(self, event: str, detail: JSON, tenant: str, subject: str) -> None:
        """Put on the record what happened to credentials."""
        detail = dict(detail)
        credential = str(detail.pop("credential", ""))
        record = records.access_event(event, detail, tenant=tenant, subject=subject, credential=credential)
        await self.audit.write(tenant, record)

    async def restart(self, server: str, caller: Caller) -> ServerState:
        """Restart a server; how it is doing once it is ready or has failed again.

        Raises:
            MisuseError: there is none of that id, or it is not the caller's tenant that runs it.
        """
        self.check_owner(server, caller)
        await self._administered(server, "restart requested", caller)
        return await self.registry.restart(server)

    async def reload(self, caller: Caller) -> ReloadResult:
        """Read the configuration of servers anew, and start, end and replace servers so that they are as it says.

        Raises:
            MisuseError: the caller's tenant does not run this workbench, or the configuration cannot be meant.
        """
        if not self.operates(caller):
            raise MisuseError(
                "The configuration on disk is that of all tenants, and another one runs it.",
                hint="Ask those who run this workbench.",
            )
        await self._administered("platform", "configuration reload requested", caller)
        return await self.registry.reload(patience=START_TIMEOUT_S)

    async def register(self, server: JSON, caller: Caller) -> ServerState:
        """Add a server that is reached over HTTP. It exists for the caller's tenant alone.

        Raises:
            MisuseError: not such a registration, an id that is taken, or an address that may not be reached.
        """
        spec = registration(server, tenant=caller.tenant, prefixed=not self.operates(caller))
        await self._administered(spec.id, "registration requested", caller)
        return await self.registry.add(spec)

    async def unregister(self, server: str, caller: Caller) -> None:
        """Remove a registered server.

        Raises:
            MisuseError: there is none of that id, or it is not the caller's tenant that runs it.
        """
        self.check_owner(server, caller)
        await self._administered(server, "removal requested", caller)
        await self.registry.remove(server)

    async def record_load(self, run: JSON, requests: Sequence[JSON], caller: Caller) -> None:
        """Put a load run on the record, its requests first.

        Raises:
            MisuseError: something is missing.
        """
        await self.record_load_requests(run, requests, caller)
        await self.audit.write(caller.tenant, records.load_run(run, caller.tenant))

    async def record_load_requests(self, run: JSON, requests: Sequence[JSON], caller: Caller) -> None:
        """Put a portion of a load run's requests on the record."""
        check_load(run, requests)
        self.audit.quota.check(caller.tenant)
        written = [self.audit.put(caller.tenant, records.load_request(r, caller.tenant)) for r in requests]
        await asyncio.gather(*(w for w in written if w is not None))

    def check_owner(self, server: str, caller: Caller) -> None:
        """Raise `MisuseError` unless it is the caller's tenant that runs this server."""
        spec = self.registry.spec(server)
        if spec is None and self.registry.exists(server, caller.tenant):
            state = self.registry.state(server)
            assert state is not None
            raise MisuseError(f"Server {server!r} is {state.status} and does not run.", hint=state.last_error)
        if spec is None or not spec.exists_for(caller.tenant):
            raise MisuseError(f"There is no server {server!r}.", hint="List the servers to see which there are.")
        if not spec.tenant and not self.operates(caller):
            raise MisuseError(
                f"Server {server!r} serves all tenants and is run by another one.",
                hint="Ask those who run this workbench.",
            )

    async def _administered(self, server: str, event: str, caller: Caller) -> None:
        by = {"by": caller.subject, "credential": caller.credential}
        await self.audit.write(caller.tenant, records.registry_event(server, event, by, tenant=caller.tenant))
