"""What the management API takes: the bodies of its requests, as they are documented at `/docs`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field, StrictBool

from workbench.platform.conversation_turns import MAX_QUESTION


class ToolCall(BaseModel):
    """One call of one tool."""

    tool: str = Field(description="Qualified name, `server.tool`.", examples=["crm.search_customers"])
    arguments: dict[str, Any] = Field(default_factory=dict, examples=[{"query": "smith"}])
    timeout_s: float | None = Field(default=None, gt=0, description="Seconds to wait; default is the setting.")
    trace_id: str | None = Field(default=None, pattern="^[0-9a-f]{32}$")
    profile: str = Field(default="", max_length=100, description="Call it through this profile.")


class Turn(BaseModel):
    """An earlier turn of the conversation."""

    role: Literal["user", "assistant"]
    text: str


class Question(BaseModel):
    """A question for the agent."""

    question: str = Field(min_length=1, max_length=MAX_QUESTION)
    provider: str | None = Field(default=None, examples=["openai"])
    model: str | None = None
    history: list[Turn] = Field(default_factory=list, max_length=100)
    profile: str = Field(default="", max_length=100, description="Answer with the tools of this profile alone.")
    stream: bool = Field(default=False, description="Server-sent events, one run event each, instead of one document.")


class Registration(BaseModel):
    """A server that is reached over HTTP. Launch commands come from configuration on disk, never from here."""

    model_config = {"extra": "forbid"}

    id: str = Field(min_length=1, max_length=64)
    url: str
    title: str = ""
    description: str = ""
    headers: dict[str, str] = Field(default_factory=dict)


class NewKey(BaseModel):
    """A key that is to be made."""

    model_config = {"extra": "forbid"}

    subject: str = Field(min_length=1, max_length=200, description="The person or program that will hold it.")
    roles: list[str] = Field(default_factory=list, max_length=50, examples=[["employee"]])
    scopes: list[str] = Field(default_factory=list, max_length=200, description="Narrow what the roles grant.")
    expires_us: int | None = Field(default=None, description="Microseconds since 1970; without it, never.")
    rate_per_minute: int | None = Field(default=None, ge=1, description="Calls per minute of its holder.")
    note: str = Field(default="", max_length=1000)


class Acceptance(BaseModel):
    """A changed definition that somebody has looked at."""

    hash: str = Field(pattern="^[0-9a-f]{64}$", description="Of the definition that was looked at.")
    varying: StrictBool = Field(default=False, description="Later versions, too, that differ only in what varies.")


class Repeats(BaseModel):
    """On which terms an approved call may be repeated without asking again."""

    uses: int = Field(default=0, ge=0, description="How many further calls; 0: as many as the setting allows.")
    seconds: float = Field(default=0, ge=0, description="For how long; 0: as long as the setting allows.")
    patterns: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="JSON pointer → enum, prefix or range; all else stays as approved."
    )


class Verdict(BaseModel):
    """What a human says of a waiting call."""

    approve: StrictBool
    note: str = ""
    arguments: dict[str, Any] | None = Field(default=None, description="With a yes: what shall run instead.")
    args_hash: str = Field(default="", description="Of the arguments that were looked at; needed once changed.")
    standing: Repeats | None = Field(default=None, description="With a yes: let the caller repeat the call.")


class LoadRequests(BaseModel):
    """A load run's summary, and requests of it."""

    run: dict[str, Any]
    requests: list[dict[str, Any]] = Field(default_factory=list, max_length=10_000)


class Statement(BaseModel):
    """One reading statement over the tables of the record."""

    sql: str = Field(
        min_length=1, max_length=100_000, examples=["select tool, count(*) as n from tool_calls group by tool"]
    )
    parameters: list[Any] | dict[str, Any] | None = Field(default=None, description="For `?` or `$name`.")
    max_rows: int = Field(default=10_000, ge=1, le=1_000_000, description="The answer is cut after so many rows.")
    timeout_s: float = Field(default=30.0, gt=0, le=300, description="Seconds until the statement is stopped.")
    fleet: bool = Field(default=False, description="Over all gateways that share the catalog `audit_catalog`.")
