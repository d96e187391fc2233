"""Tools of different servers whose names can be taken for one another: which of them imitates the other.

The order of precedence depends on no moment: bundled servers come first, then those of the configuration in its order,
then registered ones, the oldest first. Within it the later server imitates the earlier one. What a server has ever
listed counts, so that nothing changes while it is down or late.

The same name on two servers is common, and so is one that differs in conventions alone (`list_tables`, `list-tables`,
`listTables`): the full name has the server in front. Such names are noted where they differ. A name that only looks
the same (`send_emai1`, or letters of another alphabet) has no other purpose than to be mistaken: it is an imitation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from workbench.events import Tool
from workbench.lookalikes import skeleton
from workbench.registry.definitions.name_checks import spelling
from workbench.registry.server import ServerSpec


def precedence(specs: Iterable[ServerSpec]) -> list[ServerSpec]:
    """The servers in the order in which an earlier one counts as the original; `specs` in the order of entering."""
    return sorted(specs, key=lambda spec: (spec.trust != "bundled", spec.source == "registered"))


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


class _Alike(NamedTuple):
    """The tools of one server whose names share a skeleton."""

    by_spelling: dict[str, str]
    """Spelling → qualified name, those included that are not listed any more."""
    listed: list[tuple[str, str]]
    """What the server calls the tool, and its qualified name."""


class NameComparison:
    """Compares the names of all servers; those of a server that lists what it listed before are not read again."""

    def __init__(self) -> None:
        self._read: dict[str, tuple[Sequence[Tool], Sequence[str], dict[str, _Alike]]] = {}

    def resemblances(
        self, specs: Iterable[ServerSpec], tools: Mapping[str, Sequence[Tool]], known: Mapping[str, Sequence[str]]
    ) -> dict[str, Resemblance]:
        """Qualified name → what it resembles, of the tools whose names can be taken for an earlier server's.

        Args:
            specs: all servers, in the order of entering.
            tools: server → its tools as last listed.
            known: server → further names that it has listed before.
        """
        groups: dict[str, list[tuple[ServerSpec, _Alike]]] = {}
        for spec in precedence(specs):
            for key, alike in self._of(spec.id, tools.get(spec.id, ()), known.get(spec.id, ())).items():
                groups.setdefault(key, []).append((spec, alike))
        found: dict[str, Resemblance] = {}
        for sharing in groups.values():
            for at, (spec, alike) in enumerate(sharing[1:], 1):
                # what exists for another tenant alone is no matter of this one
                others = [names.by_spelling for other, names in sharing[:at] if other.tenant in ("", spec.tenant)]
                for name, qualified in alike.listed:
                    if (resembled := _first(others, name)) is not None:
                        found[qualified] = Resemblance(qualified, *resembled)
        return found

    def _of(self, server: str, tools: Sequence[Tool], known: Sequence[str]) -> dict[str, _Alike]:
        before = self._read.get(server)
        if before is not None and before[0] is tools and before[1] is known:
            return before[2]
        found: dict[str, _Alike] = {}
        names = [(tool.upstream_name, tool.qualified) for tool in tools]
        for name, qualified in names:
            alike = found.setdefault(skeleton(name), _Alike({}, []))
            alike.by_spelling.setdefault(spelling(name), qualified)
            alike.listed.append((name, qualified))
        for name in known:
            alike = found.setdefault(skeleton(name), _Alike({}, []))
            alike.by_spelling.setdefault(spelling(name), f"{server}.{name}")
        self._read[server] = (tools, known, found)
        return found


def _first(others: Iterable[Mapping[str, str]], name: str) -> tuple[str, bool] | None:
    """The first tool of another server that `name` resembles, and whether it imitates it."""
    conventional = None
    for by_spelling in others:
        if (same := by_spelling.get(spelling(name))) is None:
            return next(iter(by_spelling.values())), True
        if conventional is None and same.partition(".")[2] != name:
            conventional = same
    return None if conventional is None else (conventional, False)
