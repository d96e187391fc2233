"""Tools of different servers whose names can be taken for one another: which of them imitates the other.

The order of precedence depends on no moment: bundled servers come first, then those of the configuration in its order,
then registered ones, the oldest first. Within it the later server imitates the earlier one. What a server has ever
listed counts, so that nothing changes while it is down or late.

The same name on two servers is common, and so is one that differs in conventions alone (`list_tables`, `list-tables`,
`listTables`): the full name has the server in front. Such names are noted where they differ. A name that only looks
the same (`send_emai1`, or letters of another alphabet) has no other purpose than to be mistaken: it is an imitation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from workbench.events import Tool
from workbench.lookalikes import skeleton
from workbench.registry.names import spelling
from workbench.registry.server import ServerSpec


def precedence(specs: Iterable[ServerSpec]) -> list[ServerSpec]:
    """The servers in the order in which an earlier one counts as the original; `specs` in the order of entering."""
    return sorted(specs, key=lambda spec: (spec.trust != "bundled", spec.source == "registered"))


@dataclass
class _Names:
    """The names of one server that share a skeleton."""

    server: ServerSpec
    by_spelling: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Resemblance:
    """One tool whose name resembles that of another server's."""

    tool: str
    """Qualified name."""
    other: str
    """That of the tool which comes first."""
    imitates: bool

    def applied(self, tool: Tool) -> Tool:
        """`tool` with what is to be said of it; quarantined when it imitates and nobody has accepted it."""
        if not self.imitates or tool.accepted_by:
            return msgspec.structs.replace(tool, notes=(*tool.notes, f"Its name resembles that of {self.other}."))
        why = f"Its name imitates that of {self.other}. Accept it if it is meant to be called so."
        return msgspec.structs.replace(tool, quarantined=tool.quarantined or why)


def resemblances(
    specs: Iterable[ServerSpec], tools: Mapping[str, Iterable[Tool]], known: Mapping[str, Iterable[str]]
) -> dict[str, Resemblance]:
    """Qualified name → what it resembles, of the tools whose names can be taken for an earlier server's.

    Args:
        specs: all servers, in the order of entering.
        tools: server → its tools as last listed.
        known: server → further names that it has listed before.
    """
    groups: dict[str, list[_Names]] = {}
    found: dict[str, Resemblance] = {}
    for spec in precedence(specs):
        own: dict[str, _Names] = {}
        for tool in tools.get(spec.id, ()):
            name = tool.upstream_name
            resembled = _first(groups.get(skeleton(name), ()), spec, name)
            if resembled is not None:
                found[tool.qualified] = Resemblance(tool.qualified, *resembled)
            own.setdefault(skeleton(name), _Names(spec)).by_spelling.setdefault(spelling(name), tool.qualified)
        for name in known.get(spec.id, ()):
            names = own.setdefault(skeleton(name), _Names(spec))
            names.by_spelling.setdefault(spelling(name), f"{spec.id}.{name}")
        for key, names in own.items():
            groups.setdefault(key, []).append(names)
    return found


def _first(groups: Iterable[_Names], spec: ServerSpec, name: str) -> tuple[str, bool] | None:
    """The first tool of another server that `name` resembles, and whether it imitates it."""
    conventional = None
    for names in groups:
        if names.server.tenant not in ("", spec.tenant):
            continue  # what exists for another tenant alone is no matter of this one
        if (same := names.by_spelling.get(spelling(name))) is None:
            return next(iter(names.by_spelling.values())), True
        if conventional is None and same.partition(".")[2] != name:
            conventional = same
    return None if conventional is None else (conventional, False)
