"""What answers a question: the `Provider` protocol, and the conversation that every provider reads.

A provider is asked for one turn at a time. It streams text, names the tools it wants called, and ends the turn. The
loop calls the tools; the provider never does. The same protocol fits a remote model, a model in this process, and a
planner that is no language model at all: therefore results stay structured (`ToolResult.outcome`), not only text.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Literal, Protocol, runtime_checkable

import msgspec

from workbench.events import JSON, Outcome, Record, Tool, Usage, WorkbenchError

# --- what a provider is given ------------------------------------------------


class ToolSpec(Record, frozen=True, kw_only=True):
    """One tool as it is offered to a provider. `tool` is the thing itself, for providers that want more."""

    name: str
    """Safe for every provider: a letter or `_`, then letters, digits, `_`, `-`; at most 64 characters."""
    tool: Tool
    description: str = ""
    """At most 1024 characters; `tool.description` has all of it."""
    schema: JSON = msgspec.field(default_factory=lambda: {"type": "object", "properties": {}})
    """Of the arguments: an object at the root, `$ref` inlined where it is not recursive."""
    renamed: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Parameter as offered → as the server calls it, where no provider would take the server's name."""


class ToolRequest(Record, frozen=True, kw_only=True):
    """A provider wants a tool called."""

    id: str
    """The provider's id of the request; the result goes back under it."""
    name: str
    """As the provider said it: the `ToolSpec.name`, if it kept to what was offered."""
    arguments: JSON = msgspec.field(default_factory=dict)
    malformed: str = ""
    """The text that came instead of a JSON object, when it did; `arguments` is empty then."""
    why: str = ""
    """For the reader of the trace: the reason, where the provider gives one."""


class SystemMessage(Record, frozen=True, kw_only=True, tag="system"):
    text: str


class UserMessage(Record, frozen=True, kw_only=True, tag="user"):
    text: str


class AssistantMessage(Record, frozen=True, kw_only=True, tag="assistant"):
    """What a provider said in one turn."""

    text: str = ""
    requests: tuple[ToolRequest, ...] = ()
    provider: str = ""
    """Who said it. `items` mean nothing to another one."""
    items: tuple[JSON, ...] = ()
    """The turn exactly as it came over the wire (reasoning, signatures…); it must be echoed as it is."""


class ToolResult(Record, frozen=True, kw_only=True):
    """What came of one request."""

    id: str
    """Id of the request."""
    name: str
    """Name as requested."""
    text: str
    """For a language model: cut to size, errors in words."""
    outcome: Outcome
    """Everything, never cut."""
    tool: str = ""
    """Qualified name of the tool; empty when there is none of that name."""
    arguments: JSON = msgspec.field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.outcome.ok


class ToolResults(Record, frozen=True, kw_only=True, tag="results"):
    """The results of one turn, in the order of its requests: every request has exactly one."""

    results: tuple[ToolResult, ...]


Message = SystemMessage | UserMessage | AssistantMessage | ToolResults
"""A conversation is a sequence of these: at most one system message, first; results follow the turn that asked."""


# --- what a provider yields --------------------------------------------------


class TextPart(Record, frozen=True, kw_only=True):
    """Some more text of the answer, as soon as it is there."""

    text: str


class TurnEnd(Record, frozen=True, kw_only=True):
    """The turn is complete. A stream that ends without one was cut, and its requests must not be run."""

    usage: Usage = msgspec.field(default_factory=Usage)
    stop: str = ""
    """The provider's own word for why it stopped."""
    items: tuple[JSON, ...] = ()
    """For `AssistantMessage.items`."""
    truncated: bool = False
    """The output limit cut the text off."""


Part = TextPart | ToolRequest | TurnEnd


class Provider(Protocol):
    """Answers questions, one turn at a time. Stateless: everything it knows is in the arguments of `turn`."""

    @property
    def name(self) -> str:
        """A name in `workbench.provider_table.PROVIDERS`."""
        ...

    @property
    def model(self) -> str: ...

    @property
    def is_llm(self) -> bool: ...

    @property
    def wants_all_tools(self) -> bool:
        """Offer every visible tool, however many. A provider that searches on its own says so."""
        ...

    def turn(
        self,
        conversation: Sequence[Message],
        tools: Sequence[ToolSpec],
        *,
        max_output_tokens: int,
        timeout: float,
    ) -> AsyncIterator[Part]:
        """One turn: any number of `TextPart` and `ToolRequest`, then exactly one `TurnEnd`. No request means: answered.

        Args:
            conversation: everything so far; ends with the user or with results.
            tools: what may be requested.
            max_output_tokens: most tokens to produce in this turn.
            timeout: seconds this turn may take.

        Raises:
            ProviderError: the turn failed; nothing of it may be used.
        """
        ...


@runtime_checkable
class Closable(Protocol):
    """A provider that holds connections."""

    async def close(self) -> None: ...


class ProviderStatus(Record, frozen=True, kw_only=True):
    """Whether a provider could answer now."""

    name: str
    ready: bool
    model: str
    why: str
    """Why it is ready, or what to do so that it is."""
    is_llm: bool = True


class DetectedServer(Record, frozen=True, kw_only=True):
    """A local server that was recognised as one that could answer."""

    kind: str
    """The program, for people: `Ollama`."""
    base_url: str


ProviderErrorKind = Literal[
    "no_key",  # nothing to authenticate with
    "unauthorized",  # the key is wrong, or lacks a right
    "rate_limited",  # too many requests, also after the retries
    "quota",  # nothing left to pay with
    "unreachable",  # no connection
    "timeout",  # no answer in time
    "overloaded",  # the provider has a problem of its own
    "cut",  # the stream ended in the middle of a turn
    "context",  # the conversation is longer than the model can read
    "refused",  # the model or a filter declined
    "bad_request",  # the provider does not accept what we sent
    "unknown_model",
    "not_installed",
]


class ProviderError(WorkbenchError):
    """A provider could not complete a turn. The message says what it said, `hint` what to do."""

    exit_code = 4

    def __init__(self, kind: ProviderErrorKind, message: str, *, hint: str = "", again: bool | None = None) -> None:
        super().__init__(message, hint=hint)
        self.kind = kind
        self.again = kind == "cut" if again is None else again
        """The same turn may be asked once more at once: it broke off in the middle."""
