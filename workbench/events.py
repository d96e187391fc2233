"""The vocabulary: what exists and what happens, frozen and typed.

One object is what is stored, streamed, shown and tested. Everything here is plain data: no I/O, no import from another
room. `msgspec` structs are used because they encode to JSON and back in microseconds and stay immutable.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import msgspec
import orjson

JSON = dict[str, Any]

Source = Literal["mcp", "rest", "cli", "notebook", "app", "agent", "load"]
"""The door a call came through; it is recorded and never changes what the call may do."""

OutcomeKind = Literal[
    "ok",  # the tool answered
    "tool_error",  # the tool answered that it failed; the answer travels on as it is
    "invalid",  # the arguments do not fit the tool's schema
    "not_found",  # no such server or tool
    "denied",  # scopes or policy say no
    "approval_required",  # a human has to approve this very call first
    "throttled",  # a rate limit or quota is used up
    "timeout",  # the deadline passed before the tool answered
    "unavailable",  # the server is down, quarantined or its breaker is open
    "cancelled",  # the caller went away or asked to stop
    "failed",  # the upstream broke the protocol, or we have a bug
]


_random: list[str] = []
"""Random bytes in hex, fetched ahead, 16 at a time: a system call for every id gives the interpreter lock away each
time."""
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}

os.register_at_fork(after_in_child=_random.clear)


def _sixteen() -> str:
    """16 bytes from the operating system's generator, in hex; safe in threads, because `pop` is atomic."""
    try:
        return _random.pop()
    except IndexError:
        fresh = os.urandom(16 * 256).hex()
        _random.extend(fresh[at : at + 32] for at in range(32, len(fresh), 32))
        return fresh[:32]


def new_id() -> str:
    """A UUIDv7 (RFC 9562 §5.7) as text: sortable by the millisecond it was made in, unguessable after that."""
    ms, r = f"{time.time_ns() // 1_000_000:012x}", _sixteen()
    return f"{ms[:8]}-{ms[8:]}-7{r[:3]}-{_VARIANT[r[3]]}{r[4:7]}-{r[7:19]}"


def new_trace_id() -> str:
    """32 hex digits (W3C Trace Context §3.2.2.3)."""
    return _sixteen()


def new_span_id() -> str:
    """16 hex digits (W3C Trace Context §3.2.2.4)."""
    return _sixteen()[:16]


def now_us() -> int:
    """Microseconds since the epoch, UTC: the unit of every stored time."""
    return time.time_ns() // 1_000


def counted(number: int, noun: str) -> str:
    """How many of what: `1 call`, `2 calls`, `1,000 calls`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no spaces: the form that hashes are taken over."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON of `value`, in hex."""
    return hashlib.sha256(canonical(value)).hexdigest()


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of everything in this module: immutable, keyword-only, encodable."""

    def to_dict(self) -> JSON:
        """Plain JSON-compatible data."""
        return msgspec.to_builtins(self)  # type: ignore[no-any-return]


class Caller(Record, frozen=True, kw_only=True):
    """Who is calling, as far as the gateway has established it."""

    tenant: str
    subject: str
    """The person or program, unique within the tenant."""
    roles: tuple[str, ...] = ()
    scopes: frozenset[str] = frozenset()
    """Effective scopes: what the roles grant, narrowed by the credential."""
    credential: str = "local"
    """Id of the key or token used; never the secret."""
    method: Literal["local", "key", "jwt", "introspection", "workload"] = "local"
    rate_per_minute: int | None = None
    """Calls per minute that the credential was given; None means what the settings say."""

    def has(self, scope: str) -> bool:
        """Whether `scope` is held, directly or through a wider one: `*`, or `crm:*` for `crm:read:pii`."""
        held = self.scopes
        if scope in held or "*" in held:
            return True
        parts = scope.split(":")
        return any(":".join(parts[:n]) + ":*" in held for n in range(1, len(parts)))


class Tool(Record, frozen=True, kw_only=True):
    """One tool on one server, as last listed. `name` is safe everywhere; `qualified` is what callers use."""

    server: str
    name: str
    title: str = ""
    description: str = ""
    input_schema: JSON = msgspec.field(default_factory=lambda: {"type": "object"})
    output_schema: JSON | None = None
    annotations: JSON = msgspec.field(default_factory=dict)
    scopes: tuple[str, ...] = ()
    """All of them are needed to call the tool."""
    definition: JSON = msgspec.field(default_factory=dict)
    """The definition exactly as the server listed it, unknown fields included."""
    definition_hash: str = ""
    """SHA-256 over name, title, description, schemas and annotations."""
    repairs: tuple[JSON, ...] = ()
    """Parts of the definition that are read otherwise than they are written: `where`, `given`, `read_as` of each."""
    quarantined: str = ""
    """Why the tool may not be called although it is listed; empty when it may."""
    varies: tuple[str, ...] = ()
    """JSON pointers of where its definition differs from the accepted one, as was agreed to."""
    tenant: str = ""
    """The only tenant for which the tool exists; empty when it exists for all."""
    original: str | None = None
    """What its server calls it, where that is not `name`."""
    notes: tuple[str, ...] = ()
    """What a person should know of it, in sentences: another name, hidden characters, a name that resembles another."""
    accepted_by: str = ""
    """Who has looked at its definition and accepted it as it is; empty when nobody has been asked."""

    @property
    def upstream_name(self) -> str:
        """The name by which its server is called."""
        return self.name if self.original is None else self.original

    @property
    def qualified(self) -> str:
        """`server.name`, the only name that callers see."""
        return f"{self.server}.{self.name}"

    @property
    def read_only(self) -> bool:
        """The server says that a call changes nothing (`readOnlyHint`)."""
        return self.annotations.get("readOnlyHint") is True

    @property
    def destructive(self) -> bool:
        """The server says that a call may destroy something (`destructiveHint` true and not read-only)."""
        return not self.read_only and self.annotations.get("destructiveHint") is True

    @property
    def idempotent(self) -> bool:
        """Calling twice is the same as calling once (`idempotentHint`, or read-only)."""
        return self.read_only or self.annotations.get("idempotentHint") is True


class Call(Record, frozen=True, kw_only=True):
    """One request to run one tool, whoever asks and whichever door it came through."""

    caller: Caller
    tool: str
    """Qualified name: `server.tool`."""
    named: str = ""
    """What an MCP client calls the tool, where that is another name; messages to that client use it."""
    arguments: JSON = msgspec.field(default_factory=dict)
    id: str = msgspec.field(default_factory=new_id)
    source: Source = "rest"
    protocol: str = ""
    """MCP revision spoken by the client, empty for other doors."""
    run: str = ""
    """The run (question) that asked for the call, if any."""
    step: str = ""
    """The step within the run."""
    session: str = ""
    profile: str = ""
    """The profile through which it was made; nothing outside of it can be called. Empty: through none."""
    trace_id: str = msgspec.field(default_factory=new_trace_id)
    span_id: str = msgspec.field(default_factory=new_span_id)
    parent_span_id: str = ""
    timeout_s: float | None = None
    """Seconds the caller is willing to wait; None means the configured default."""
    oneway: bool = False
    """A notification: the server is told, and nobody waits for an answer."""
    meta: JSON = msgspec.field(default_factory=dict)
    """Further `_meta` keys and `params` siblings of the client that must reach the server untouched."""
    received_us: int = msgspec.field(default_factory=now_us)


class Decision(Record, frozen=True, kw_only=True):
    """What policy said of one call, and why. The absence of a decision is a denial."""

    allow: bool
    rule: str
    """The rule that decided, e.g. `tool_scopes.allow` or `default_deny`."""
    reason: str = ""
    missing_scopes: tuple[str, ...] = ()
    approval: bool = False
    """Allowed only with a live human approval of exactly this call."""
    redact: tuple[str, ...] = ()
    """Column names whose values must not leave in clear."""
    max_result_bytes: int = 0
    """0 means the configured cap."""
    revision: str = ""
    """Hash of the policy that decided."""
    engine: str = ""
    elapsed_us: int = 0


class Outcome(Record, frozen=True, kw_only=True):
    """How a call ended. A tool's failure is a value: `ok` is False and nothing was raised."""

    kind: OutcomeKind
    call: str
    """Id of the call."""
    tool: str = ""
    result: JSON | None = None
    """The server's `CallToolResult` (content, structuredContent, isError, _meta…), after redaction."""
    message: str = ""
    """For a person: what was given, what was expected, what to do next. Empty when ok."""
    details: JSON = msgspec.field(default_factory=dict)
    """For a program: path, expected, suggestions, missing_scopes, rule, approval, retry_after…"""
    decision: Decision | None = None
    latency_us: int = 0
    """From receipt to answer, everything included."""
    upstream_us: int = 0
    """Of that, waiting for the server."""
    server: str = ""
    redactions: int = 0
    result_bytes: int = 0

    @property
    def ok(self) -> bool:
        """Whether the tool answered without an error."""
        return self.kind == "ok"

    @property
    def data(self) -> Any:
        """The most useful form of the answer: structured content, else parsed or plain text, else content blocks."""
        result = self.result or {}
        structured = result.get("structuredContent")
        if structured is not None:
            return structured
        blocks = result.get("content") or []
        texts = [b.get("text", "") for b in blocks if isinstance(b, dict) and b.get("type") == "text"]
        if blocks and len(texts) == len(blocks):
            text = "\n".join(texts)
            try:
                return orjson.loads(text)
            except orjson.JSONDecodeError:
                return text
        return blocks or None


# --- a question, as a stream of events ------------------------------


class Usage(Record, frozen=True, kw_only=True):
    """Tokens and money of one turn or one run. `input_tokens` includes cached ones, whatever the provider counts."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            cost_usd=self.cost_usd + other.cost_usd,
        )


class RunEvent(Record, frozen=True, kw_only=True, tag_field="event", tag=True):
    """Base of what a run yields; `event` names the class when encoded."""

    run: str
    ts: int = msgspec.field(default_factory=now_us)


class RunStarted(RunEvent, frozen=True, kw_only=True):
    """The first event: what was asked, and who answers."""

    question: str
    provider: str
    model: str
    is_llm: bool
    why: str
    """Why this provider answers, e.g. "no key is set: planner (not an LLM)"."""
    tools: int = 0
    """How many tools the caller may use."""
    trace_id: str = ""


class TextDelta(RunEvent, frozen=True, kw_only=True):
    """A piece of the answer, or of what the model says between calls."""

    text: str
    turn: int = 0


class ToolAsked(RunEvent, frozen=True, kw_only=True):
    """The model asks for a tool call."""

    step: str
    tool: str
    arguments: JSON
    turn: int = 0
    why: str = ""


class ApprovalWaiting(RunEvent, frozen=True, kw_only=True):
    """A tool call waits until a person has approved it."""

    step: str
    tool: str
    approval: str
    expires_us: int = 0


class ToolDone(RunEvent, frozen=True, kw_only=True):
    """A tool call ended."""

    step: str
    tool: str
    outcome: Outcome


class TurnDone(RunEvent, frozen=True, kw_only=True):
    """One turn of the model ended."""

    turn: int
    usage: Usage
    elapsed_us: int
    stop: str = ""
    """The provider's reason to stop this turn."""


class RunDone(RunEvent, frozen=True, kw_only=True):
    """The last event: how the run ended, its answer and its cost."""

    status: Literal["answered", "cancelled", "limit", "failed"]
    answer: str
    turns: int
    calls: int
    usage: Usage
    elapsed_us: int
    message: str = ""
    """Why the run ended early, and what to do; empty when answered."""


AnyRunEvent = RunStarted | TextDelta | ToolAsked | ApprovalWaiting | ToolDone | TurnDone | RunDone


def run_event(data: Mapping[str, Any]) -> AnyRunEvent:
    """The event that `data` (decoded JSON) describes.

    Raises:
        msgspec.ValidationError: the data is no run event.
    """
    event: AnyRunEvent = msgspec.convert(data, AnyRunEvent)
    return event


# --- errors ------------------------------

DISTRIBUTION = "mcp-research-workbench"
"""Name of the distribution on the package index; the import and the command are `workbench`."""


class WorkbenchError(Exception):
    """Something the user can mend. The message is shown as it is; `hint` says what to do next."""

    exit_code: ClassVar[int] = 1
    error_kind: ClassVar[str] = "WorkbenchError"
    """What REST and other processes call it; the name of the class, unless the class states another one."""

    def __init_subclass__(cls) -> None:
        if "error_kind" not in cls.__dict__:
            cls.error_kind = cls.__name__

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        text = str(self.args[0])
        return f"{text} {self.hint}" if self.hint else text


class MisuseError(WorkbenchError):
    """Arguments or settings that cannot be meant: the caller's program or configuration needs a change."""

    error_kind = "Misuse"
    exit_code = 2


class MissingPackageError(MisuseError):
    """A feature needs a package that only an extra of the distribution brings.

    Args:
        package: the name of the import that failed, e.g. `psycopg`.
        extra: the extra that installs it, e.g. `postgres`.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"The package {package} is missing.", hint=install_hint(extra))


def install_hint(extra: str) -> str:
    """The command that installs an extra. The distribution's name on the index differs from the import's."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


class UnauthenticatedError(WorkbenchError):
    """No valid credential. Never turned into a default identity."""

    error_kind = "Unauthenticated"
    exit_code = 3


class UnreachableError(WorkbenchError):
    """A server, the platform or a provider does not answer."""

    error_kind = "Unreachable"
    exit_code = 4


class NotRecordedError(WorkbenchError):
    """The record cannot be written, so nothing may be answered."""

    error_kind = "NotRecorded"
    exit_code = 6


class InternalError(WorkbenchError):
    """A fault of the platform that was asked, not of what it was asked; its log has the traceback."""

    error_kind = "Bug"
