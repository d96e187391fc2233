"""A provider that plays a script in place of a language model, and refuses whatever the script did not foresee."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from workbench.agent.provider import (
    AssistantMessage,
    Message,
    Part,
    Provider,
    SystemMessage,
    TextPart,
    ToolRequest,
    ToolResults,
    ToolSpec,
    TurnEnd,
    UserMessage,
)
from workbench.agent.provider_choice import Choice, Chooser
from workbench.config import Settings
from workbench.events import JSON, Usage

ScriptedPart = Part | BaseException | asyncio.Event
"""What a turn written out in full consists of: an exception is raised, an event is waited for."""

Expectation = str | re.Pattern[str] | Callable[[Sequence[Message]], object]
"""What the last message has to contain, or a function that is given the conversation and may return False or raise."""


class ScriptError(AssertionError):
    """A run did not go as the script says. An `AssertionError`, so that it fails the test and not merely the run."""


@dataclass(frozen=True, kw_only=True)
class ScriptedTurn:
    """One turn of a script: first what is expected, then what is said, then which tools are called.

    Args:
        text: said first.
        calls: tools to call, each a name and its arguments. The name is that under which the tool is offered, or the
            qualified one (`server.tool`); a tool that is not offered fails the test. A `ToolRequest` is sent as it is,
            for the mistakes that language models make.
        expect: what the last message (the question, or the results of the calls before) has to contain: a text, a
            regular expression, or a function of the whole conversation.
        error: raised after text and calls, e.g. a `ProviderError`.
        usage: the tokens that the turn reports.
        stop: the provider's word for why it stopped; None: `calls` or `answered`.
        truncated: whether the output limit cut the text off.
        items: what the provider wants to get back unchanged with the next turn.

    Example:
        >>> ScriptedTurn(expect="tickets", calls=[("desk.list_tickets", {"status": "open"})]).calls
        [('desk.list_tickets', {'status': 'open'})]
    """

    text: str = ""
    calls: Sequence[tuple[str, JSON] | ToolRequest] = ()
    expect: Expectation | None = None
    error: BaseException | None = None
    usage: Usage = field(default_factory=Usage)
    stop: str | None = None
    truncated: bool = False
    items: tuple[JSON, ...] = ()

    def parts(self, tools: Sequence[ToolSpec]) -> list[ScriptedPart]:
        """What a provider yields for it.

        Args:
            tools: that are offered.

        Raises:
            ScriptError: a call names none of them.
        """
        found: list[ScriptedPart] = [TextPart(text=self.text)] if self.text else []
        for number, call in enumerate(self.calls):
            if isinstance(call, ToolRequest):
                found.append(call)
            else:
                name, arguments = call
                found.append(ToolRequest(id=str(number), name=_offered(name, tools), arguments=arguments))
        if self.error is not None:
            return [*found, self.error]
        stop = ("calls" if self.calls else "answered") if self.stop is None else self.stop
        return [*found, TurnEnd(usage=self.usage, stop=stop, truncated=self.truncated, items=self.items)]


class ScriptedProvider:
    """A `Provider` that plays one turn of its script whenever it is asked for one.

    Args:
        turns: in their order, over all runs. A text is a turn that answers with it, an exception one that fails with
            it; a list is yielded part by part, without a `TurnEnd` of its own.
        name: of the provider, as run events and records show it.
        model: likewise.
        is_llm: whether it counts as a language model, so that budgets apply to it.
        wants_all_tools: whether it is offered every tool, however many there are.
        require_all: whether `assert_finished` refuses a script of which turns are left.

    Attributes:
        conversations: what it was given for each turn.
        offered: the names of the tools that it was offered for each turn.
        limits: the most tokens of output that it was allowed for each turn.
        closed: how often it was closed; the agent does that at the end of every run.

    Example:
        >>> provider = ScriptedProvider(
        ...     ScriptedTurn(expect="How many", calls=[("calc.add", {"a": 1, "b": 2})]),
        ...     ScriptedTurn(expect="3", text="Three."),
        ... )
        >>> provider.remaining
        2
    """

    def __init__(
        self,
        *turns: ScriptedTurn | str | BaseException | Sequence[ScriptedPart],
        name: str = "scripted",
        model: str = "script",
        is_llm: bool = True,
        wants_all_tools: bool = False,
        require_all: bool = True,
    ) -> None:
        self.name = name
        self.model = model
        self.is_llm = is_llm
        self.wants_all_tools = wants_all_tools
        self.conversations: list[Sequence[Message]] = []
        self.offered: list[list[str]] = []
        self.limits: list[int] = []
        self.closed = 0
        self._turns = list(turns)
        self._played = 0
        self._require_all = require_all
        self._mismatch: ScriptError | None = None

    @property
    def remaining(self) -> int:
        """How many turns have not been played."""
        return len(self._turns) - self._played

    async def turn(
        self, conversation: Sequence[Message], tools: Sequence[ToolSpec], *, max_output_tokens: int, timeout: float
    ) -> AsyncIterator[Part]:
        """The next turn of the script.

        Raises:
            ScriptError: there is none, the last message is not what it expects, or it calls a tool that is not offered.
        """
        self.conversations.append(conversation)
        self.offered.append([spec.name for spec in tools])
        self.limits.append(max_output_tokens)
        try:
            parts = self._next(conversation, tools)
        except ScriptError as error:
            self._mismatch = self._mismatch or error
            raise
        for part in parts:
            if isinstance(part, BaseException):
                raise part
            if isinstance(part, asyncio.Event):
                await part.wait()
            else:
                yield part

    def _next(self, conversation: Sequence[Message], tools: Sequence[ToolSpec]) -> Sequence[ScriptedPart]:
        number = self._played + 1
        if not self.remaining:
            raise ScriptError(
                f"The script has {len(self._turns)} turn(s), and turn {number} was asked for after:\n"
                f"{_shown(conversation)}\nAdd the turn to the script, or find out why the run did not end before it."
            )
        turn = self._turns[self._played]
        self._played += 1
        if isinstance(turn, str):
            turn = ScriptedTurn(text=turn)
        if isinstance(turn, BaseException):
            turn = ScriptedTurn(error=turn)
        if not isinstance(turn, ScriptedTurn):
            return turn
        try:
            if not _fits(turn.expect, conversation):
                wanted = turn.expect.pattern if isinstance(turn.expect, re.Pattern) else turn.expect
                raise ScriptError(f"expected {wanted!r} in the last message, which is:\n{_shown(conversation)}")
            return turn.parts(tools)
        except ScriptError as error:
            raise ScriptError(f"Turn {number} of the script: {error}") from None

    def assert_finished(self) -> None:
        """Check that runs went as the script says, to its end. `GatewayHarness` does so when it closes.

        Raises:
            ScriptError: something was refused, or turns are left and the script is not `require_all=False`.
        """
        if self._mismatch is not None:
            raise self._mismatch
        if self._require_all and self.remaining:
            raise ScriptError(
                f"{self.remaining} of {len(self._turns)} turn(s) of the script were not played: the run ended earlier."
            )

    async def close(self) -> None:
        """Count it; there is nothing to let go of."""
        self.closed += 1


class SingleProviderChooser(Chooser):
    """Chooses one provider for every run that does not ask for another by name.

    Args:
        settings: of the workbench.
        provider: the one; None: as `Chooser` does where no key is set, which is the planner.
    """

    def __init__(self, settings: Settings, provider: Provider | None) -> None:
        super().__init__(settings, env={})
        self._single = provider

    async def choose(self, provider: str | None = None, model: str | None = None) -> Choice:
        """The one provider, unless another is asked for."""
        if self._single is None or provider not in (None, "auto", self._single.name):
            return await super().choose(provider, model)
        return Choice(provider=self._single, why="the test chose it", close_after=True)


def _offered(name: str, tools: Sequence[ToolSpec]) -> str:
    for spec in tools:
        if name in (spec.name, spec.tool.qualified):
            return spec.name
    offered = ", ".join(spec.name for spec in tools) or "none"
    raise ScriptError(f"it calls {name!r}, which is not offered. Offered: {offered}.")


def _text(message: Message) -> str:
    if isinstance(message, ToolResults):
        return "\n".join(result.text for result in message.results)
    return message.text


def _shown(conversation: Sequence[Message]) -> str:
    if not conversation:
        return "(no message)"
    last = conversation[-1]
    who = {SystemMessage: "system", UserMessage: "user", AssistantMessage: "assistant", ToolResults: "results"}
    return f"{who[type(last)]}: {_text(last)}"


def _fits(expect: Expectation | None, conversation: Sequence[Message]) -> bool:
    if expect is None:
        return True
    if callable(expect):
        return expect(conversation) is not False
    text = _text(conversation[-1]) if conversation else ""
    return expect in text if isinstance(expect, str) else expect.search(text) is not None
