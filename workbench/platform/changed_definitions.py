"""Definitions of tools that are not those first seen: what differs, and accepting them after somebody has looked."""

from __future__ import annotations

import asyncio
import json
from difflib import unified_diff
from typing import TYPE_CHECKING, Any

import msgspec

from workbench.events import JSON, Caller, MisuseError, Record, Tool
from workbench.registry import VaryingAcceptance

if TYPE_CHECKING:
    from workbench.platform.platform import Platform
    from workbench.registry import Registry


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
    varying: tuple[JSON, ...] = ()
    """What can be accepted once for all: `where` (JSON pointer) and `template`, with the kind of each hole in ‹ ›."""
    not_varying: str = ""
    """Why that is not possible."""

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
            _changed(registry, t)
            for t in registry.tools()
            if t.quarantined and registry.exists(t.server, caller.tenant)
        ]

    found = sorted(await asyncio.to_thread(read), key=lambda each: each.tool)
    return found if caller.has("pii:read") else [_shown(platform, each, caller) for each in found]


def _shown(platform: Platform, each: ChangedDefinition, caller: Caller) -> ChangedDefinition:
    """A changed definition as it may be shown to somebody who may not see personal data."""
    said: JSON = {"changes": each.changes, "reason": each.reason, "not_varying": each.not_varying}
    if platform.policy.redactor.prose(each.to_dict(), caller.tenant, "result")[1]:
        # what is accepted once for all quotes the definition, too, and cannot be used in part
        shown: ChangedDefinition = msgspec.structs.replace(
            each, **platform.gateway.outbound.prose(said, caller.tenant), varying=()
        )
        return shown
    return each


async def accept(platform: Platform, tool: str, hash: str, caller: Caller, *, varying: bool = False) -> None:
    """Let a tool be called again with the definition that it has now; on the record.

    Args:
        platform: whose registry holds it.
        tool: qualified name.
        hash: of the definition that the caller has looked at.
        caller: who accepts.
        varying: later versions, too, that differ only in what `ChangedDefinition.varying` shows.

    Raises:
        MisuseError: no such tool is quarantined here, it is another tenant's to accept, it has changed once more,
            or what
            varies in it cannot be told.
    """
    if not hash or all(each.tool != tool for each in await changed(platform, caller)):
        raise MisuseError(
            f"No changed definition of {tool[:200]!r} waits to be accepted.",
            hint="`workbench servers changes` shows those that do, each with the hash to name.",
        )
    platform.check_owner(tool.partition(".")[0], caller)
    await platform.registry.accept(tool, by=caller.subject, seen=hash, varying=varying)


async def varying(platform: Platform, caller: Caller) -> list[VaryingAcceptance]:
    """Definitions that were accepted with what varies in them, of servers that exist for the caller's tenant."""
    found = [
        each
        for each in await asyncio.to_thread(platform.registry.varying_acceptances)
        if _concerns(platform, each.tool, caller)
    ]
    if caller.has("pii:read"):
        return found
    redact = platform.policy.redactor.prose
    return [
        msgspec.structs.replace(each, varying=()) if redact(list(each.varying), caller.tenant, "result")[1] else each
        for each in found
    ]


async def revoke_varying(platform: Platform, tool: str, caller: Caller) -> None:
    """End the acceptance of what varies in a definition; on the record.

    Args:
        platform: whose registry holds it.
        tool: qualified name.
        caller: who ends it.

    Raises:
        MisuseError: there is none of that tool here, or it is another tenant's to end.
    """
    if all(each.tool != tool for each in await varying(platform, caller)):
        raise MisuseError(
            f"No definition of {tool[:200]!r} was accepted with what varies in it.",
            hint="`workbench servers varying` shows those that were.",
        )
    server = tool.partition(".")[0]
    if platform.registry.spec(server) is not None:
        platform.check_owner(server, caller)
    await platform.registry.revoke_varying(tool, by=caller.subject)


def _concerns(platform: Platform, tool: str, caller: Caller) -> bool:
    """Whether the caller's tenant may know of a tool's server; one that is gone is known to who runs the platform."""
    server = tool.partition(".")[0]
    gone = platform.registry.state(server) is None
    return platform.operates(caller) if gone else platform.registry.exists(server, caller.tenant)


def _changed(registry: Registry, tool: Tool) -> ChangedDefinition:
    changes, template = registry.changes(tool.qualified), registry.varying(tool.qualified)
    return ChangedDefinition(
        tool=tool.qualified,
        hash=tool.definition_hash,
        changes=changes,
        reason=tool.quarantined,
        varying=() if isinstance(template, str) else tuple(template.shown),
        not_varying=template if changes and isinstance(template, str) else "",
    )


def _lines(value: Any) -> list[str]:
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
    return [] if value is None else text.splitlines()
