"""What differs between two listings of one server."""

from __future__ import annotations

from collections.abc import Iterable

from workbench.events import JSON, Tool
from workbench.registry.definitions.poisoning_signals import of_tools


def tool_changes(listed: Iterable[Tool], now: Iterable[Tool]) -> JSON:
    """The names of tools that were added, removed and changed, which are quarantined, what varies in which
    that may, and the signs in what is new.

    Args:
        listed: the tools until now.
        now: the tools from now on.

    Returns:
        An empty object when nothing differs.
    """
    before, after = {t.name: t for t in listed}, {t.name: t for t in now}
    if before == after:
        return {}
    changes: JSON = {
        "added": sorted(after.keys() - before.keys()),
        "removed": sorted(before.keys() - after.keys()),
        "changed": sorted(n for n in before.keys() & after.keys() if before[n] != after[n]),
        "quarantined": sorted(n for n, t in after.items() if t.quarantined),
    }
    if varied := {n: list(t.varies) for n, t in after.items() if t.varies}:
        changes["varied"] = varied
    signs = of_tools(t for n, t in after.items() if before.get(n) != t)
    return changes | ({"signals": signs} if signs else {})
