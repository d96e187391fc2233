"""What the façade returns: plain objects that show themselves in a terminal, a notebook and Streamlit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workbench import show
from workbench.events import (
    JSON,
    AnyRunEvent,
    Decision,
    Outcome,
    RunDone,
    RunStarted,
    Tool,
    ToolAsked,
    ToolDone,
    Usage,
)
from workbench.registry import ServerState

if TYPE_CHECKING:
    from workbench.audit import SavedQuestion


class Servers(list[ServerState]):
    """Servers and their health, as a list that prints as a table."""

    def __repr__(self) -> str:
        return show.plain(self.__rich__())

    def _repr_html_(self) -> str:
        return show.servers_html(self)

    def __rich__(self) -> Any:
        return show.servers_table(self)


class Tools(list[Tool]):
    """Tools, as a list that prints as a table."""

    def __repr__(self) -> str:
        return show.plain(self.__rich__())

    def _repr_html_(self) -> str:
        return show.tools_html(self)

    def __rich__(self) -> Any:
        return show.tools_table(self)


class SavedQuestions(list["SavedQuestion"]):
    """Saved questions to the record, as a list that prints as a table."""

    def __repr__(self) -> str:
        return show.plain(self.__rich__())

    def _repr_html_(self) -> str:
        return show.questions_html(self)

    def __rich__(self) -> Any:
        return show.questions_table(self)


class Result:
    """How one call ended. `ok`, `data`, `kind` and `message` suffice for most uses; `outcome` has everything."""

    tool: str
    """Qualified name of the tool."""
    arguments: JSON
    """The arguments of the call."""
    outcome: Outcome
    """The whole outcome."""

    def __init__(self, tool: str, arguments: JSON, outcome: Outcome) -> None:
        self.tool = tool
        self.arguments = arguments
        self.outcome = outcome

    @property
    def ok(self) -> bool:
        """Whether the tool answered without an error."""
        return self.outcome.ok

    @property
    def kind(self) -> str:
        """How the call ended: `ok`, `tool_error`, `invalid`, `denied`, … (see `OutcomeKind`)."""
        return self.outcome.kind

    @property
    def data(self) -> Any:
        """Structured content where the tool gives it, else the parsed or plain text."""
        return self.outcome.data

    @property
    def message(self) -> str:
        """Why the call did not succeed, and what to do next; empty when it did."""
        return self.outcome.message

    @property
    def decision(self) -> Decision | None:
        """What the policy decided; None when the call did not get that far."""
        return self.outcome.decision

    def __bool__(self) -> bool:
        return self.ok

    def __repr__(self) -> str:
        ms = self.outcome.latency_us / 1000
        return f"<Result {self.tool} {self.kind} {ms:.1f} ms{': ' + self.message if self.message else ''}>"

    def _repr_html_(self) -> str:
        return show.outcome_html(self.tool, self.arguments, self.outcome)

    def __rich__(self) -> Any:
        return show.outcome_panel(self.tool, self.arguments, self.outcome)


class Run:
    """A finished run: its answer, and every step that led to it."""

    events: list[AnyRunEvent]
    """Every event of the run, in order."""

    def __init__(self, events: Sequence[AnyRunEvent]) -> None:
        self.events = list(events)

    @property
    def started(self) -> RunStarted | None:
        """The first event: provider, model and why it was chosen."""
        return next((e for e in self.events if isinstance(e, RunStarted)), None)

    @property
    def done(self) -> RunDone | None:
        """The last event: status, usage and why the run ended early, if it did."""
        return next((e for e in reversed(self.events) if isinstance(e, RunDone)), None)

    @property
    def id(self) -> str:
        """Id of the run, as in the record."""
        return self.events[0].run if self.events else ""

    @property
    def ok(self) -> bool:
        """Whether the question was answered."""
        return self.done is not None and self.done.status == "answered"

    @property
    def answer(self) -> str:
        """The answer, as text."""
        return self.done.answer if self.done else ""

    @property
    def usage(self) -> Usage:
        """Tokens and cost of the whole run."""
        return self.done.usage if self.done else Usage()

    @property
    def calls(self) -> list[Result]:
        """The tool calls, in the order in which they ended."""
        asked = {e.step: e for e in self.events if isinstance(e, ToolAsked)}
        done = [e for e in self.events if isinstance(e, ToolDone)]
        return [Result(e.tool, asked[e.step].arguments if e.step in asked else {}, e.outcome) for e in done]

    def __repr__(self) -> str:
        status = self.done.status if self.done else "unfinished"
        return f"<Run {self.id} {status}, {len(self.calls)} calls: {self.answer[:80]!r}>"

    def _repr_html_(self) -> str:
        return show.run_html(self.events)

    def __rich__(self) -> Any:
        return show.run_tree(self.events)
