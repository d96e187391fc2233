"""The tools that can be called now: by name, by search, and what was meant by a name that is not among them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Final

import msgspec

from workbench.events import Tool
from workbench.registry.definitions.imitation import NameComparison, Resemblance
from workbench.registry.definitions.tool_notices import tool_notices
from workbench.registry.replica_set import ReplicaSet
from workbench.registry.schemas.value_keywords import shown
from workbench.registry.tool_search import ToolIndex
from workbench.suggestions import close_names

MAX_WITHHELD: Final = 10_000
"""Definitions whose output schema is not listed; beyond, further ones stay listed."""


class ToolCatalog:
    """The tools of the ready servers. Rebuilt when a server comes, goes or lists other tools."""

    def __init__(self) -> None:
        self.version = 0
        self.on_change: list[Callable[[], None]] = []
        self.tools: list[Tool] = []
        self.by_name: dict[str, tuple[Tool, ReplicaSet]] = {}
        self.known: dict[str, Tool] = {}
        """Qualified name → tool, those of servers included that cannot be called now."""
        self.names: dict[str, list[str]] = {}
        """Server → names of tools that it had before this process."""
        self.resemblances: dict[str, Resemblance] = {}
        self._withheld: dict[tuple[str, str], str] = {}
        """Qualified name and hash of a definition → why its output schema is not listed."""
        self.notices: dict[str, tuple[str, ...]] = {}
        """Server → what a person should know of its tools."""
        self._comparison = NameComparison()
        self._index = ToolIndex()
        self._indexing: asyncio.Task[None] | None = None

    def rebuild(self, entries: Collection[ReplicaSet]) -> None:
        """Take over what the ready ones of `entries` offer, given in the order of entering."""
        listed = {e.spec.id: e.tools for e in entries}
        self.resemblances = self._comparison.resemblances((e.spec for e in entries), listed, self.names)
        self.known = {tool.qualified: tool for tools in listed.values() for tool in tools}
        for name, resemblance in self.resemblances.items():
            self.known[name] = resemblance.applied(self.known[name])
        for (name, hash), why in self._withheld.items():
            tool = self.known.get(name)
            if tool is not None and tool.definition_hash == hash and tool.output_schema is not None:
                note = {"where": "/outputSchema", "given": shown(tool.output_schema), "read_as": f"none: {why}"}
                self.known[name] = msgspec.structs.replace(tool, output_schema=None, repairs=(*tool.repairs, note))
        for entry in entries:
            known = [self.known[tool.qualified] for tool in entry.tools]
            self.notices[entry.spec.id] = tool_notices(known, entry.refused)
        ready = sorted((e for e in entries if e.callable), key=lambda e: e.spec.id)
        self.by_name = {t.qualified: (self.known[t.qualified], entry) for entry in ready for t in entry.tools}
        tools = [tool for tool, _ in self.by_name.values()]
        if tools == self.tools:
            return
        self.tools = tools
        self.version += 1
        self._reindex()
        for listener in list(self.on_change):
            listener()

    def withhold(self, tool: Tool, why: str) -> bool:
        """Leave out the output schema of `tool` as of the next rebuild; whether that is new."""
        key = (tool.qualified, tool.definition_hash)
        new = key not in self._withheld and len(self._withheld) < MAX_WITHHELD
        if new:
            self._withheld[key] = why
        return new

    def search(self, query: str, limit: int, among: Collection[str] | None) -> list[tuple[Tool, float]]:
        """Tools by words and meaning, best first."""
        ready = self.by_name
        hits = self._index.search(query, limit, among)
        # The index may be a moment behind; only what can be called now is offered, as it is listed now.
        return [(ready[name][0], score) for name, score in hits if name in ready]

    def suggest(self, name: str, limit: int = 3) -> tuple[str, ...]:
        """Tools that `name` was probably meant to be."""
        return close_names(name, self.by_name, limit)

    async def indexed(self) -> None:
        """Wait until search knows all tools."""
        while (tools := self.tools) is not self._index.tools and tools:
            await asyncio.shield(self._reindex())

    async def close(self) -> None:
        """Give up indexing."""
        if self._indexing is not None:
            self._indexing.cancel()
            await asyncio.wait({self._indexing})

    def _reindex(self) -> asyncio.Task[None]:
        if self._indexing is None or self._indexing.done():
            self._indexing = asyncio.create_task(self._catch_up(), name="index of tools")
        return self._indexing

    async def _catch_up(self) -> None:
        while (tools := self.tools) is not self._index.tools:
            # Embedding hundreds of descriptions takes longer than the event loop may be held up.
            self._index = await asyncio.to_thread(self._index.updated, tools)
