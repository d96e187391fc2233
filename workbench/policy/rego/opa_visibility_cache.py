"""What a remote OPA says of whole lists of tools, so that a list and a call are judged by the same rules.

One request asks for a thousand decisions of the very rule that decides calls; they are remembered for a few seconds.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from workbench.events import Caller, Tool
from workbench.policy.rego import rego_engine
from workbench.policy.rego.engine_answer import document, verdict
from workbench.policy.rego.opa_client import OpaClient

FRESH_S = 5.0
"""How long a list is good; a change of the rules shows in lists after that."""
MAX_AGE_S = 60.0
"""After so long without a newer answer nothing is visible any more."""
MAX_BATCH = 1000
"""Decisions asked for in one request."""
MAX_CALLERS = 512

Identity = tuple[Any, ...]


class _Seen(NamedTuple):
    at: float
    number: int
    visible: frozenset[tuple[Any, ...]]
    asked: frozenset[tuple[Any, ...]]


class OpaVisibilityCache:
    """The tools that callers see where an OPA decides.

    Args:
        opa: who decides.
        clock: seconds that only grow.
    """

    def __init__(self, opa: OpaClient, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._opa = opa
        self._clock = clock
        self._seen: dict[Identity, _Seen] = {}
        self._asking: dict[Identity, asyncio.Task[None]] = {}
        self._numbers = itertools.count(1)

    def version(self, caller: Caller) -> int:
        """Another one whenever OPA was asked again for this caller; 0 before the first time."""
        seen = self._seen.get(_identity(caller))
        return seen.number if seen else 0

    def visible(self, caller: Caller, tool: Tool) -> bool:
        """Whether OPA, when it was last asked, would have let `caller` call `tool`, a needed approval put aside."""
        seen = self._seen.get(_identity(caller))
        return seen is not None and self._clock() - seen.at < MAX_AGE_S and _key(tool) in seen.visible

    async def prefetch(self, caller: Caller, tools: Sequence[Tool]) -> None:
        """Ask about `tools`, unless that was done a moment ago. What is not answered is not visible."""
        whose = _identity(caller)
        seen = self._seen.get(whose)
        if seen is not None and self._clock() - seen.at < FRESH_S and seen.asked.issuperset(map(_key, tools)):
            return
        asking = self._asking.get(whose)
        if asking is None:  # one question for all who want to know at the same time
            asking = self._asking[whose] = asyncio.get_running_loop().create_task(self._ask(whose, caller, tools))
            asking.add_done_callback(lambda _: self._asking.pop(whose, None))
        await asyncio.shield(asking)

    async def _ask(self, whose: Identity, caller: Caller, tools: Sequence[Tool]) -> None:
        visible: set[tuple[Any, ...]] = set()
        for start in range(0, len(tools), MAX_BATCH):
            portion = tools[start : start + MAX_BATCH]
            readable = [(tool, asked) for tool in portion if (asked := _document(caller, tool)) is not None]
            try:
                answers = await self._opa.ask_many([asked for _, asked in readable])
            except rego_engine.BrokenPolicyError:
                break  # it says so as the problem of the policy; the rest stays unseen
            for (tool, _), answer in zip(readable, answers, strict=True):
                if answer is not None and _allows(answer, caller, tool):
                    visible.add(_key(tool))
        if len(self._seen) >= MAX_CALLERS:
            self._seen.clear()
        self._seen[whose] = _Seen(self._clock(), next(self._numbers), frozenset(visible), frozenset(map(_key, tools)))


def _document(caller: Caller, tool: Tool) -> dict[str, Any] | None:
    try:
        return document(caller, tool)
    except rego_engine.BrokenPolicyError:
        return None


def _allows(answer: dict[str, Any], caller: Caller, tool: Tool) -> bool:
    try:
        return verdict(answer, caller, tool, revision="", engine="").decision.allow is True
    except Exception:  # noqa: BLE001 - what cannot be decided is not shown
        return False


def _identity(caller: Caller) -> Identity:
    return (caller.tenant, caller.subject, caller.roles, caller.scopes, caller.method)


def _key(tool: Tool) -> tuple[Any, ...]:
    return (tool.qualified, tool.definition_hash, tool.scopes, tool.quarantined != "")
