"""What the management API takes: the bodies of its requests, as they are documented at `/docs`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field, StrictBool

from workbench.platform.conversation_turns import MAX_QUESTION
from workbench.provider_table import provider_names


class ToolCall(BaseModel):
    """One call of one tool."""

    tool: str = Field(description="Qualified name, `server.tool`.", examples=["crm.search_customers"])
    arguments: dict[str, Any] = Field(
        default_factory=dict, description="As the input schema of the tool says.", examples=[{"query": "smith"}]
    )
    timeout_s: float | None = Field(
        default=None, gt=0, description="Seconds to wait; default is the setting `call_timeout`."
    )
    trace_id: str | None = Field(
        default=None, pattern="^[0-9a-f]{32}$", description="W3C trace id to record the call under; default a new one."
    )
    profile: str = Field(default="", max_length=100, description="Call it through this profile.")


class Turn(BaseModel):
    """An earlier turn of the conversation."""

    role: Literal["user", "assistant"]
    text: str


class Question(BaseModel):
    """A question for the agent."""

    question: str = Field(min_length=1, max_length=MAX_QUESTION, description="What is asked.")
    provider: str | None = Field(
        default=None, description="A name that `GET /api/platform/providers` lists; default the best that is ready.",
        examples=provider_names()[:1],
    )  # fmt: skip
    model: str | None = Field(default=None, description="Model of that provider; default is the setting `model`.")
    history: list[Turn] = Field(
        default_factory=list, max_length=100, description="Earlier turns; `role` is `user` or `assistant`."
    )
    profile: str = Field(default="", max_length=100, description="Answer with the tools of this profile alone.")
    stream: bool = Field(default=False, description="Server-sent events, one run event each, instead of one document.")


class Registration(BaseModel):
    """A server that is reached over HTTP. Launch commands come from configuration on disk, never from here."""

    model_config = {"extra": "forbid"}

    id: str = Field(min_length=1, max_length=64, description="Its name in `server.tool`.")
    url: str = Field(description="Address of its MCP endpoint.")
    title: str = Field(default="", description="Name for people.")
    description: str = Field(default="", description="What it is for.")
    headers: dict[str, str] = Field(default_factory=dict, description="HTTP headers to send to it.")


class NewKey(BaseModel):
    """A key that is to be made."""

    model_config = {"extra": "forbid"}

    subject: str = Field(min_length=1, max_length=200, description="The person or program that will hold it.")
    roles: list[str] = Field(
        default_factory=list, max_length=50, description="Names that `workbench access roles` lists.",
        examples=[["employee"]],
    )  # fmt: skip
    scopes: list[str] = Field(
        default_factory=list, max_length=200, description="Narrow what the roles grant to these scopes."
    )
    expires_us: int | None = Field(
        default=None, description="When it expires, in microseconds since 1970-01-01 UTC; default never."
    )
    rate_per_minute: int | None = Field(
        default=None, ge=1, description="Calls per minute of its holder; default is the setting."
    )
    note: str = Field(default="", max_length=1000, description="What the key is for.")


class Acceptance(BaseModel):
    """A changed definition that somebody has looked at."""

    hash: str = Field(pattern="^[0-9a-f]{64}$", description="Hash of the definition that you looked at.")
    varying: StrictBool = Field(
        default=False, description="Also accept later versions that differ only in what varies."
    )


class Repeats(BaseModel):
    """On which terms an approved call may be repeated without asking again."""

    uses: int = Field(
        default=0,
        ge=0,
        description="How many further calls; 0: as many as the setting `standing_approval_uses` allows.",
    )
    seconds: float = Field(
        default=0, ge=0, description="For how long; 0: as long as the setting `standing_approval_seconds` allows."
    )
    patterns: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="JSON pointer → enum, prefix or range; all else stays as approved."
    )


class Verdict(BaseModel):
    """A person's decision on a waiting call."""

    approve: StrictBool = Field(description="`true` approves the call, `false` denies it.")
    note: str = Field(default="", description="Why; kept on the record.")
    arguments: dict[str, Any] | None = Field(default=None, description="Approve the call with these arguments instead.")
    args_hash: str = Field(
        default="", description="Hash of the arguments that you looked at; required when somebody has changed them."
    )
    standing: Repeats | None = Field(default=None, description="Let the caller repeat the approved call.")


class LoadRequests(BaseModel):
    """The summary of a load run, and some of its requests."""

    run: dict[str, Any] = Field(description="A row of `load_runs`.")
    requests: list[dict[str, Any]] = Field(
        default_factory=list, max_length=10_000, description="Rows of `load_requests`."
    )


class Statement(BaseModel):
    """One read-only statement over the tables of the record."""

    sql: str = Field(
        min_length=1, max_length=100_000, description="A SELECT in DuckDB's dialect.",
        examples=["select tool, count(*) as n from tool_calls group by tool"],
    )  # fmt: skip
    parameters: list[Any] | dict[str, Any] | None = Field(
        default=None, description="Values for `?` (array) or `$name` (object)."
    )
    max_rows: int = Field(default=10_000, ge=1, le=1_000_000, description="The answer is cut after so many rows.")
    timeout_s: float = Field(default=30.0, gt=0, le=300, description="Seconds until the statement is stopped.")
    fleet: bool = Field(default=False, description="Over all gateways that share the catalog `audit_catalog`.")
