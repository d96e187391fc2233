"""Definitions of tools that are not those first seen: what differs, and accepting them after somebody has looked."""

from __future__ import annotations

import asyncio
import json
from difflib import unified_diff
from typing import TYPE_CHECKING, Any

from workbench.events import JSON, Caller, Misuse, Record

if TYPE_CHECKING:
    from workbench.bench.platform import Platform


class ChangedDefinition(Record, frozen=True, kw_only=True):
    """A tool that may not be called until its definition is accepted."""

    tool: str
    """Qualified name."""
    hash: str
    """Of the definition as it is listed now; accepting names it, so that nobody accepts what they have not seen."""
    changes: JSON
    """Part of the definition → `pinned`, as it was first seen or last accepted, and `listed`; empty where the
    definition is the first one and is quarantined for something else."""
    reason: str = ""
    """Why it is quarantined, in a sentence."""

    @property
    def diff(self) -> str:
        """The changes for a person, in the unified form, part by part."""
        return "\n".join(
            line
            for part, sides in self.changes.items()
            for line in unified_diff(
                _lines(sides["pinned"]), _lines(sides["listed"]), f"{part}, accepted", f"{part}, now", lineterm=""
            )
        )


async def changed(platform: Platform, caller: Caller) -> list[ChangedDefinition]:
    """The quarantined tools of servers that exist for the caller's tenant, by name."""
    registry = platform.registry

    def read() -> list[ChangedDefinition]:
        return [
            ChangedDefinition(
                tool=t.qualified,
                hash=t.definition_hash,
                changes=registry.changes(t.qualified),
                reason=t.quarantined,
            )
            for t in registry.tools()
            if t.quarantined and registry.exists(t.server, caller.tenant)
        ]

    return sorted(await asyncio.to_thread(read), key=lambda each: each.tool)


async def accept(platform: Platform, tool: str, hash: str, caller: Caller) -> None:
    """Let a tool be called again with the definition that it has now; on the record.

    Args:
        platform: whose registry holds it.
        tool: qualified name.
        hash: of the definition that the caller has looked at.
        caller: who accepts.

    Raises:
        Misuse: no such tool is quarantined here, it is another tenant's to accept, or it has changed once more.
    """
    if not hash or all(each.tool != tool for each in await changed(platform, caller)):
        raise Misuse(
            f"No changed definition of {tool[:200]!r} waits to be accepted.",
            hint="`workbench servers changes` shows those that do, each with the hash to name.",
        )
    platform.check_owner(tool.partition(".")[0], caller)
    await platform.registry.accept(tool, by=caller.subject, seen=hash)


def _lines(value: Any) -> list[str]:
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
    return [] if value is None else text.splitlines()
