"""What a server is: how it is configured, how it is doing, and the errors that name one."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Literal

import msgspec

from workbench.events import JSON, Record, WorkbenchError, now_us
from workbench.registry.server_auth import ServerAuth
from workbench.registry.server_tls import ServerTls

_USER_INFO = re.compile(r"(?<=://)[^/?#@\s]*@")
_SECRET_PARAMETER = re.compile(
    r"(?i)([?&][^=&#]*(?:key|token|secret|passw|auth|signature|credential)[^=&#]*=)(?!\$\{secret:)[^&#]+"
)

ServerKind = Literal["bundled", "tables", "command", "url"]
ServerStatus = Literal["starting", "ready", "down", "stopped", "failed", "disabled", "invalid"]


class ServerSpec(Record, frozen=True, kw_only=True):
    """One server as it was configured. `env` and `headers` may hold secrets, so neither is shown or recorded."""

    id: str
    """Short name, unique; tools are called `id.tool`."""
    kind: ServerKind
    title: str = ""
    description: str = ""
    command: tuple[str, ...] = ()
    """Program and arguments; only ever read from configuration on disk."""
    env: dict[str, str] = msgspec.field(default_factory=dict)
    """Variables for the program, beside the few that every child gets."""
    cwd: str = ""
    url: str = ""
    more_urls: tuple[str, ...] = ()
    """Further addresses of the same server: replicas between which calls are shared out."""
    sse: bool = False
    """Its address is configured as that of an HTTP+SSE stream; otherwise that is found out."""
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    auth: ServerAuth | None = None
    """How the gateway authenticates to it; None: as `headers` say."""
    tls: ServerTls | None = None
    """How the gateway and it know each other on TLS; None: as usual on the web."""
    trust: Literal["bundled", "configured"] = "configured"
    """Scope labels of a tool count only for `bundled`."""
    call_timeout_s: float = 0.0
    """Longest time of a call, in seconds, as its configuration says; 0: as the settings say, which come first."""
    hidden_tools: tuple[str, ...] = ()
    """Tools that are not offered, by name; `*` stands for any characters."""
    only_tools: tuple[str, ...] | None = None
    """The only tools that are offered; None: all."""
    notices: tuple[str, ...] = ()
    """What was changed or not used when its configuration was read."""
    stdio: bool = False
    """Speaks over stdin and stdout; otherwise over Streamable HTTP."""
    source: str = ""
    """Where it was configured: `bundled`, a file, or `registered`."""
    tenant: str = ""
    """The only tenant for which it exists; empty when it exists for all."""

    def exists_for(self, tenant: str) -> bool:
        """Whether callers of `tenant` may know that there is such a server."""
        return self.tenant in ("", tenant)

    def offers(self, tool: str) -> bool:
        """Whether its configuration lets the tool of that name be offered."""
        return not _matches(tool, self.hidden_tools) and (self.only_tools is None or _matches(tool, self.only_tools))

    def public(self) -> JSON:
        """What may be shown and recorded: all but the values of `env` and `headers`, and credentials in URLs."""
        shown = self.to_dict()
        shown["url"] = shown_url(self.url)
        shown["more_urls"] = [shown_url(url) for url in self.more_urls]
        shown["env"] = sorted(self.env)
        shown["headers"] = sorted(self.headers)
        return shown

    def __repr__(self) -> str:
        where = shown_url(self.url) or " ".join(self.command)
        return f"ServerSpec({self.id!r}, {self.kind}, {where!r}, source={self.source!r})"


def shown_url(url: str) -> str:
    """`url` without the password in it, and without the values of parameters whose name says that they are secret."""
    return _SECRET_PARAMETER.sub(r"\1***", _USER_INFO.sub("***@", url))


def _matches(tool: str, patterns: tuple[str, ...]) -> bool:
    return any(tool == pattern or fnmatchcase(tool, pattern) for pattern in patterns)


class ReplicaState(Record, frozen=True, kw_only=True):
    """How one of several replicas of a server is doing."""

    number: int
    """Counted from 0."""
    status: ServerStatus
    breaker: str
    under_way: int
    pid: int
    url: str
    restarts: int
    draining: bool
    """Gets no further calls, because it is about to be stopped."""
    last_error: str


class ServerState(Record, frozen=True, kw_only=True):
    """How one server is doing, at the moment it was asked for."""

    id: str
    kind: ServerKind
    title: str = ""
    description: str = ""
    status: ServerStatus = "starting"
    """`starting`: first launch under way; `ready`; `down`: was or should be there, is being retried; `stopped`: by us;
    `failed`: never came up, still retried slowly; `disabled`: its configuration switches it off; `invalid`: its
    configuration cannot be used, and `last_error` says why."""
    transport: str = ""
    """`http`, `sse` (HTTP+SSE, of 2024-11-05), `stdio` or `memory`."""
    url: str = ""
    pid: int = 0
    era: str = ""
    """MCP revision spoken with it."""
    version: str = ""
    """The server's own version."""
    tools: int = 0
    since_us: int = msgspec.field(default_factory=now_us)
    """When `status` last changed."""
    restarts: int = 0
    last_error: str = ""
    """Why it is not ready, or was not last time; ends with what it wrote to stderr. Empty when nothing went wrong."""
    failures: int = 0
    """How often in a row it failed to start or ended since it was last ready for long."""
    retry_us: int = 0
    """When it is tried again, in microseconds; 0 when nothing is waited for."""
    health_us: int = 0
    """Round trip of the last health check, in microseconds; 0 before the first."""
    instructions: str = ""
    breaker: str = "closed"
    """`closed`: calls go through; `open`: calls have failed in a row, none is sent until a health check is answered;
    `half-open`: one call at a time is tried."""
    under_way: int = 0
    """Calls that wait for it now."""
    replicas: tuple[ReplicaState, ...] = ()
    """Each one, when there are several."""
    tenant: str = ""
    """The only tenant for which it exists; empty when it exists for all."""
    notices: tuple[str, ...] = ()
    """What was changed or not used when its configuration was read."""

    @property
    def condition(self) -> str:
        """The status as the predicate of a sentence: `is ready`, `has failed`."""
        return "has failed" if self.status == "failed" else f"is {self.status}"


class OverloadedError(WorkbenchError):
    """Nothing was sent: all replicas have too much to do (`rule` is `busy`) or keep failing (`breaker`)."""

    error_kind = "Overloaded"
    exit_code = 4

    def __init__(self, message: str, *, rule: Literal["busy", "breaker"], retry_s: int) -> None:
        self.rule = rule
        self.retry_s = retry_s
        super().__init__(message, hint=f"Try again in {retry_s} s.")


class UnknownToolError(WorkbenchError):
    """No ready server lists a tool of that name."""

    error_kind = "UnknownTool"

    def __init__(self, name: str, suggestions: tuple[str, ...] = ()) -> None:
        self.name = name
        self.suggestions = suggestions
        hint = f"Did you mean {' or '.join(suggestions)}?" if suggestions else "See `workbench tools` for all tools."
        super().__init__(f"There is no tool {name!r}.", hint=hint)


class ServerDownError(WorkbenchError):
    """The server of that tool is known, but cannot be called now."""

    error_kind = "ServerDown"
    exit_code = 4

    def __init__(self, state: ServerState) -> None:
        if state.status == "ready":  # as it says for the moment between a loss and its discovery
            state = msgspec.structs.replace(state, status="down", last_error="The connection was just lost.")
        self.state = state
        why = f": {state.last_error.rstrip('.')}" if state.last_error else ""
        super().__init__(
            f"Server {state.id!r} {state.condition}{why}.",
            hint="It is restarted by itself; see `workbench servers`."
            if state.status not in ("stopped", "disabled", "invalid")
            else "",
        )
