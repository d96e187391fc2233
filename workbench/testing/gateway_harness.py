"""A whole workbench in the process of the test: real registry, policy, gateway, agent and record."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from mcp.server import Server
from mcp.server.mcpserver import MCPServer

from workbench.access import Access
from workbench.agent.provider import Provider
from workbench.audit import AuditLog
from workbench.client.embedded import EmbeddedBackend
from workbench.client.results import Run
from workbench.client.workbench import Workbench
from workbench.config import Settings
from workbench.endpoint import McpEndpoint
from workbench.events import JSON, Call, Caller, MisuseError, Outcome, Source
from workbench.gateway import Gateway
from workbench.platform.platform import Platform
from workbench.policy import Approval, Policy
from workbench.registry import Connection, LaunchContext, Registry, ServerSpec
from workbench.testing.in_memory_server import InMemoryServer
from workbench.testing.scripted_provider import ScriptedProvider, SingleProviderChooser
from workbench.upstream import upstream_connection

if TYPE_CHECKING:
    from starlette.types import ASGIApp

T = TypeVar("T")

ServerSource = (
    InMemoryServer
    | MCPServer[Any]
    | Server[Any]
    | Sequence[Callable[..., Any]]
    | Connection
    | Callable[[], Connection]
    | ServerSpec
    | str
)
"""What may stand for a server: one in this process, a connection or what makes one, a `ServerSpec`, or a URL."""


class GatewayHarness:
    """A gateway over servers in this process, with everything else as `workbench up` has it.

    It starts no process and opens no port by itself. Nothing of the environment of the test (`WORKBENCH_*`, keys of
    providers, `workbench.toml`) is read. Use it as a context manager: with `async with` the methods are coroutines,
    with `with` a `SyncGatewayHarness` has the same methods as plain functions.

    Args:
        servers: by id: functions, a server object of the SDK, an `InMemoryServer`, a `Connection` or a function that
            makes one, the URL of a server that already runs, or a `ServerSpec` of that id, which may be launched as a
            child process. Tools are called `id.tool`.
        provider: answers questions; None: the planner, which is no language model.
        home: the state folder, with the record; None: a temporary one that is removed at the end.
        base: settings to start from; None: the defaults.
        settings: any settings of `workbench.config.Settings`, e.g. `policy` or `rate_per_minute`.

    Raises:
        MisuseError: a setting cannot be meant, on entering.
        ScriptError: on leaving, when the run did not go as the script of a `ScriptedProvider` says.

    Example:
        >>> def add(a: int, b: int) -> int:
        ...     "Add two numbers."
        ...     return a + b
        >>> with GatewayHarness({"calc": [add]}) as gateway:
        ...     outcome = gateway.call("calc.add", {"a": 1, "b": 2})
        ...     outcome.kind, outcome.data, gateway.outcomes()
        ('ok', {'result': 3}, ['ok'])
    """

    __test__ = False

    def __init__(
        self,
        servers: Mapping[str, ServerSource] | None = None,
        *,
        provider: Provider | None = None,
        home: Path | None = None,
        base: Settings | None = None,
        **settings: Any,
    ) -> None:
        self.provider = provider
        self.servers = {id: _known(server) for id, server in (servers or {}).items()}
        self.home = home
        self._base = base
        self._given = settings
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._platform: Platform | None = None
        self._sync: SyncGatewayHarness | None = None

    # --- opening and closing

    async def __aenter__(self) -> GatewayHarness:
        settings = self._prepare()
        try:
            await self._open(settings)
        except BaseException:
            self._remove()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        try:
            await self.platform.close()
        finally:
            self._remove()
        self._check_script(kind)

    def __enter__(self) -> SyncGatewayHarness:
        self._sync = SyncGatewayHarness(self)
        return self._sync

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._sync is not None
        try:
            self._sync.workbench.close()
        finally:
            self._remove()
        self._check_script(kind)

    def _prepare(self) -> Settings:
        if self._platform is not None:
            raise MisuseError("This harness was opened before.", hint="Make a new one.")
        if self._base is not None:
            return self._base.replace(**({"home": self.home} if self.home else {}), **self._given)
        if self.home is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="workbench-testing-")
            self.home = Path(self._temporary.name)
        try:
            return Settings.load(env={}, cwd=self.home, home=self.home, **{"servers": (), **self._given})
        except MisuseError:
            self._remove()
            raise

    async def _open(self, settings: Settings) -> Platform:
        self._platform = await Platform.open(
            settings,
            connect=partial(self._connect, settings),
            specs=[_spec(id, server) for id, server in self.servers.items()],
            chooser=SingleProviderChooser(settings, self.provider),
        )
        return self._platform

    def _connect(self, settings: Settings, spec: ServerSpec, launched: LaunchContext) -> Connection:
        server = self.servers.get(spec.id)
        if isinstance(server, InMemoryServer):
            return server.connect(spec.id)
        if server is None or isinstance(server, str | ServerSpec):
            return upstream_connection(spec, launched, settings)
        return server() if callable(server) else server

    def _remove(self) -> None:
        if self._temporary is not None:
            self._temporary.cleanup()

    def _check_script(self, failed: type[BaseException] | None) -> None:
        if failed is None and isinstance(self.provider, ScriptedProvider):
            self.provider.assert_finished()

    # --- the parts

    @property
    def platform(self) -> Platform:
        """What `workbench up` runs, with all parts in it.

        Raises:
            MisuseError: the harness is not open.
        """
        if self._platform is None:
            raise MisuseError("The harness is not open.", hint="Use it in a `with` or an `async with` statement.")
        return self._platform

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.platform.settings

    @property
    def audit(self) -> AuditLog:
        """The record, to which is written."""
        return self.platform.audit

    @property
    def access(self) -> Access:
        """Who is calling: keys, roles and scopes."""
        return self.platform.access

    @property
    def policy(self) -> Policy:
        """Whether they may."""
        return self.platform.policy

    @property
    def registry(self) -> Registry:
        """Which servers and tools there are."""
        return self.platform.registry

    @property
    def gateway(self) -> Gateway:
        """The one way to a tool."""
        return self.platform.gateway

    @cached_property
    def endpoint(self) -> McpEndpoint:
        """What MCP clients speak to, as an ASGI application."""
        return McpEndpoint(self.gateway)

    @cached_property
    def app(self) -> ASGIApp:
        """Everything that `workbench up` serves over HTTP, as an ASGI application: MCP and the management API."""
        from workbench.api import build_app

        return build_app(self.platform)

    # --- who

    @property
    def owner(self) -> Caller:
        """The local user, who may do everything that the rules let anybody do."""
        return self.access.local_caller()

    def key(self, *roles: str, scopes: Sequence[str] = (), subject: str = "ann", tenant: str | None = None) -> str:
        """A new key, for the `Authorization` header.

        Args:
            roles: names of roles, e.g. `employee`.
            scopes: scopes beside those of the roles, e.g. `crm:read`.
            subject: whose key it is.
            tenant: None: the tenant that runs the gateway.
        """
        return self.access.create_key(subject, roles=roles, scopes=scopes, tenant=tenant)[1]

    def caller(
        self, *roles: str, scopes: Sequence[str] = (), subject: str = "ann", tenant: str | None = None
    ) -> Caller:
        """Somebody with such a key; arguments as of `key`."""
        return self.access.authenticate(f"Bearer {self.key(*roles, scopes=scopes, subject=subject, tenant=tenant)}")

    # --- what they do

    async def call(
        self, tool: str, arguments: JSON | None = None, *, caller: Caller | None = None, **fields: Any
    ) -> Outcome:
        """Call `server.tool` through the gateway. Refusals and failures are outcomes, not exceptions.

        Args:
            tool: qualified name.
            arguments: of the tool.
            caller: who calls; None: the owner.
            fields: further fields of `workbench.Call`, e.g. `timeout_s`.

        Raises:
            NotRecordedError: the record cannot be written.
        """
        call = Call(caller=caller or self.owner, tool=tool, arguments=arguments or {}, **fields)
        return await self.gateway.call(call)

    async def ask(self, question: str, *, caller: Caller | None = None, **options: Any) -> Run:
        """Have the agent answer a question; returns the finished run, with `answer`, `calls` and `events`.

        Args:
            question: in words.
            caller: who asks; None: the owner.
            options: as of `Platform.ask`, e.g. `history` or `profile`.

        Raises:
            ScriptError: the run does not go as the script says.
        """
        return Run([event async for event in self.platform.ask(question, caller or self.owner, **options)])

    async def approve(
        self, approval: str, *, caller: Caller | None = None, via: Source = "app", **options: Any
    ) -> Approval:
        """Approve a call that waits for a person.

        Args:
            approval: id of the request: `outcome.details["approval"]`.
            caller: who decides; None: the owner.
            via: at which door; one's own call is decided at the app or the command line alone.
            options: as of `workbench.platform.approval_inbox.Inbox.decide`.

        Raises:
            MisuseError: nothing of that id waits, or it is not the caller's to decide.
        """
        return await self.platform.decide(approval, True, caller or self.owner, via=via, **options)

    async def deny(
        self, approval: str, *, caller: Caller | None = None, via: Source = "app", **options: Any
    ) -> Approval:
        """Deny a call that waits for a person; as `approve`."""
        return await self.platform.decide(approval, False, caller or self.owner, via=via, **options)

    # --- what is on the record

    def recorded(self, kind: str = "call") -> list[JSON]:
        """The records of one kind that are on disk, oldest first, as docs/audit-format.md describes them.

        Args:
            kind: e.g. `call`, `run`, `approval` or `registry_event`.
        """
        found: list[JSON] = []
        for file in sorted(self.settings.home.rglob("wal/*.jsonl")):
            found += [orjson.loads(line) for line in file.read_bytes().splitlines() if line.strip()]
        return [record for record in found if record.get("kind") == kind]

    def outcomes(self) -> list[str]:
        """What came of each recorded call, oldest first, e.g. `ok` or `denied`."""
        return [record["outcome"] for record in self.recorded()]


class SyncGatewayHarness:
    """A `GatewayHarness` for tests that are plain functions; `with GatewayHarness(…) as gateway` gives one.

    Args:
        harness: that is opened, on an event loop in a thread of its own.

    Attributes:
        harness: the same, for its parts and what is no coroutine there.
        workbench: the façade that scripts and notebooks use, over the same platform.
    """

    def __init__(self, harness: GatewayHarness) -> None:
        self.harness = harness
        settings = harness._prepare()

        async def connect() -> EmbeddedBackend:
            return EmbeddedBackend(await harness._open(settings), "notebook")

        try:
            self.workbench = Workbench(settings, connect)
        except BaseException:
            harness._remove()
            raise

    def call(self, tool: str, arguments: JSON | None = None, *, caller: Caller | None = None, **fields: Any) -> Outcome:
        """As `GatewayHarness.call`."""
        return self.run(self.harness.call, tool, arguments, caller=caller, **fields)

    def ask(self, question: str, *, caller: Caller | None = None, **options: Any) -> Run:
        """As `GatewayHarness.ask`."""
        return self.run(self.harness.ask, question, caller=caller, **options)

    def approve(self, approval: str, *, caller: Caller | None = None, **options: Any) -> Approval:
        """As `GatewayHarness.approve`."""
        return self.run(self.harness.approve, approval, caller=caller, **options)

    def deny(self, approval: str, *, caller: Caller | None = None, **options: Any) -> Approval:
        """As `GatewayHarness.deny`."""
        return self.run(self.harness.deny, approval, caller=caller, **options)

    def run(self, function: Callable[..., Awaitable[T]], *arguments: Any, **options: Any) -> T:
        """What `await function(…)` gives, on the loop of the gateway."""
        return self.workbench._loop.run(partial(function, *arguments, **options))

    @property
    def owner(self) -> Caller:
        """As `GatewayHarness.owner`."""
        return self.harness.owner

    def key(self, *roles: str, scopes: Sequence[str] = (), subject: str = "ann", tenant: str | None = None) -> str:
        """As `GatewayHarness.key`."""
        return self.harness.key(*roles, scopes=scopes, subject=subject, tenant=tenant)

    def caller(
        self, *roles: str, scopes: Sequence[str] = (), subject: str = "ann", tenant: str | None = None
    ) -> Caller:
        """As `GatewayHarness.caller`."""
        return self.harness.caller(*roles, scopes=scopes, subject=subject, tenant=tenant)

    def recorded(self, kind: str = "call") -> list[JSON]:
        """As `GatewayHarness.recorded`."""
        return self.harness.recorded(kind)

    def outcomes(self) -> list[str]:
        """As `GatewayHarness.outcomes`."""
        return self.harness.outcomes()


_Known = InMemoryServer | Connection | Callable[[], Connection] | ServerSpec | str


def _known(server: Any) -> _Known:
    """A `ServerSource` as one of few kinds; what runs like a server of the SDK is taken for one."""
    own = isinstance(server, str | ServerSpec | InMemoryServer) or hasattr(server, "request")
    if not own and (isinstance(server, Sequence) or hasattr(server, "run")):
        return InMemoryServer(server)
    found: _Known = server
    return found


def _spec(id: str, server: _Known) -> ServerSpec:
    if isinstance(server, InMemoryServer):
        return server.spec(id)
    if isinstance(server, ServerSpec):
        if server.id != id:
            raise MisuseError(f"The server {id!r} is specified as {server.id!r}.", hint="Give both the same id.")
        return server
    url = server if isinstance(server, str) else f"memory://{id}"
    return ServerSpec(id=id, kind="url", url=url, source="workbench.testing")
