"""What the agent may do: list tools, search them, call them. The gateway is the one that does it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from workbench.events import AnyRunEvent, Call, Caller, Outcome, RunStarted, Source, Tool, Usage


class Toolbox(Protocol):
    """`Gateway` as the agent sees it. There is no other way to a tool."""

    async def call(self, call: Call, /) -> Outcome: ...

    def tools(self, caller: Caller, /) -> list[Tool]:
        """The tools that `caller` may see, in a stable order."""
        ...

    def search(self, caller: Caller, query: str, /, limit: int = 20) -> list[tuple[Tool, float]]:
        """The tools nearest to `query`, best first, with a score."""
        ...


class TokenGrant(Protocol):
    """Tokens that were set aside for a turn."""

    @property
    def tokens(self) -> int:
        """0 when there are too few."""
        ...

    @property
    def why(self) -> str:
        """Why there are none, for a person."""
        ...


G = TypeVar("G", bound=TokenGrant)


class Budget(Protocol[G]):
    """What people's runs may use."""

    async def reserve(self, caller: Caller, run: Usage, least: int, most: int) -> G:
        """Set between `least` and `most` tokens aside for one turn of a run that has used `run` so far."""
        ...

    async def settle(self, caller: Caller, granted: G, usage: Usage) -> None:
        """Count what the turn has used instead."""
        ...


WaitForApproval = Callable[[str, float], Awaitable[bool]]
"""`await wait(approval_id, seconds)`: whether a person approved within that time."""

RecordEvent = Callable[[AnyRunEvent, RunStarted, Caller, Source], Awaitable[None]]
"""Called with every event before it is handed out, so that nothing is answered that could not be recorded. It also gets
the `RunDone` of a run whose reader went away."""
