"""What was first seen is remembered: definitions of tools, and servers that were registered while running.

A definition that changes after a person or a model got to know it is the oldest trick against tool users (the "rug
pull"). The hash first seen is pinned in the control database; another one quarantines the tool until it is accepted. A
renamed tool counts as a new one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import orjson

from workbench.config import Settings
from workbench.control import ChangeNotice, open_store
from workbench.events import JSON, MisuseError, Record, Tool, now_us
from workbench.registry.definitions.closed_addition import closed_addition
from workbench.registry.definitions.definition_texts import concealment
from workbench.registry.definitions.listing import PINNED, pinned_parts
from workbench.registry.definitions.poisoning_signals import objection
from workbench.registry.definitions.varying_definition import MAX_VERSIONS, DefinitionTemplate, definition_template
from workbench.registry.server import ServerSpec

_TABLES = """
create table if not exists registry_pins (
    server text not null, tool text not null, hash text not null, definition blob not null,
    pinned_us integer not null, accepted_by text not null default '', primary key (server, tool)) strict;
create table if not exists registry_varying (
    server text not null, tool text not null, versions blob not null,
    accepted_us integer not null, accepted_by text not null default '', primary key (server, tool)) strict;
create table if not exists registry_servers (
    id text primary key, spec blob not null, added_us integer not null) strict;
"""


FIRST_SEEN: Final = "first seen"
"""Who accepted a definition that nobody was asked about."""


class VaryingAcceptance(Record, frozen=True, kw_only=True):
    """A definition that somebody accepted together with what varies in it."""

    tool: str
    """Qualified name."""
    varying: tuple[JSON, ...]
    """`where` (JSON pointer) and `template` of each place that may vary, with the kind of each hole in ‹ ›."""
    accepted_us: int
    """When, in microseconds since the epoch."""
    accepted_by: str
    """Subject of who accepted it."""


class _Pin(NamedTuple):
    hash: str
    definition: bytes
    by: str


class DefinitionPins:
    """Pinned definitions and registered servers, in the control store. Methods block for a few milliseconds.

    Args:
        where: settings, or a state folder alone.
    """

    def __init__(self, where: Settings | Path) -> None:
        self.store = open_store(where)
        changes = {
            "registry_pins": ChangeNotice("server", "insert or update or delete"),
            "registry_varying": ChangeNotice("server", "insert or update or delete"),
            "registry_servers": ChangeNotice("id", "insert or update or delete"),
        }
        self.store.prepare("registry", _TABLES, told=changes)

    def close(self) -> None:
        """Let go of the store."""
        self.store.close()

    def check(self, spec: ServerSpec, tools: Sequence[Tool]) -> list[Tool]:
        """`tools` as they may be called: what is new is pinned, and what nobody has accepted is quarantined.

        That is a definition other than the pinned one, unless somebody agreed to what varies in it or it only takes a
        further choice (`closed_addition`), one that hides text from people, and one that talks to the model.
        """
        pinned = self._pinned(spec.id)
        if any(_is_new(pinned, spec, tool) for tool in tools):
            with self.store.exclusively("pins"):  # of two that see a tool first, one pins it and the other sees that
                pinned = self._pinned(spec.id)
                by = "bundled" if spec.trust == "bundled" else FIRST_SEEN
                new = [tool for tool in tools if _is_new(pinned, spec, tool)]
                self._pin(new, by)
                pinned |= {tool.name: _Pin(tool.definition_hash, b"", by) for tool in new}
        changed = any(pinned[tool.name].hash != tool.definition_hash for tool in tools)
        varying = self._varying(spec.id) if changed else {}
        bundled = spec.trust == "bundled"
        return [_judged(tool, pinned[tool.name], varying.get(tool.name), bundled=bundled) for tool in tools]

    def names(self) -> dict[str, list[str]]:
        """Server → names of the tools that it has ever listed."""
        found: dict[str, list[str]] = {}
        for server, tool in self.store.rows("select server, tool from registry_pins order by server, tool"):
            found.setdefault(server, []).append(tool)
        return found

    def accept(self, tool: Tool, by: str, *, varying: bool = False) -> None:
        """Pin the definition as it is listed now.

        Args:
            tool: as it was looked at.
            by: who accepts it.
            varying: and whatever fits the template of it and of the versions that were accepted before. Otherwise what
                was agreed to as varying is so no longer.

        Raises:
            ValueError: there is no such template; says why.
        """
        with self.store.exclusively("pins"):
            versions = self._versions(tool)
            if varying and isinstance(why := definition_template(versions), str):
                raise ValueError(why)
            self._pin([tool], by)
            self.store.change("delete from registry_varying where server = ? and tool = ?", tool.server, tool.name)
            if varying:
                statement = "insert into registry_varying values (?, ?, ?, ?, ?)"
                self.store.change(statement, tool.server, tool.name, orjson.dumps(versions), now_us(), by)

    def template(self, tool: Tool) -> DefinitionTemplate | str:
        """What would be agreed to by accepting `tool` as varying; or why that is not possible."""
        return definition_template(self._versions(tool))

    def varying(self) -> list[VaryingAcceptance]:
        """What was agreed to as varying, by server and tool."""
        rows = self.store.rows(
            "select server, tool, versions, accepted_us, accepted_by from registry_varying order by server, tool"
        )
        return [
            VaryingAcceptance(
                tool=f"{server}.{tool}", accepted_us=when, accepted_by=by,
                varying=() if isinstance(found := definition_template(orjson.loads(versions)), str)
                else tuple(found.shown),
            )
            for server, tool, versions, when, by in rows
        ]  # fmt: skip

    def end_varying(self, server: str, tool: str) -> None:
        """Agree no longer to what varies in a definition; the pinned version stays accepted."""
        self.store.change("delete from registry_varying where server = ? and tool = ?", server, tool)

    def _versions(self, tool: Tool) -> list[JSON]:
        """The definition as listed now, and those that were accepted before, newest first."""
        rows = self.store.rows(
            "select definition from registry_pins where server = ? and tool = ? "
            "union all select versions from registry_varying where server = ? and tool = ?",
            *(tool.server, tool.name) * 2,
        )
        versions = [pinned_parts(tool.definition)]
        for found in (orjson.loads(row[0]) for row in rows):
            versions += [v for v in (found if isinstance(found, list) else [found]) if v not in versions]
        return versions[:MAX_VERSIONS]

    def _varying(self, server: str) -> dict[str, DefinitionTemplate]:
        rows = self.store.rows("select tool, versions from registry_varying where server = ?", server)
        templates = {tool: definition_template(orjson.loads(versions)) for tool, versions in rows}
        return {tool: found for tool, found in templates.items() if not isinstance(found, str)}

    def changes(self, tool: Tool) -> JSON:
        """Part → {"pinned", "listed"} for every part that differs from the pinned definition."""
        row = self.store.row(
            "select definition from registry_pins where server = ? and tool = ?", tool.server, tool.name
        )
        return difference(orjson.loads(row[0]), tool.definition) if row else {}

    def _pin(self, tools: Sequence[Tool], by: str) -> None:
        statement = (
            "insert into registry_pins values (?, ?, ?, ?, ?, ?) on conflict (server, tool) do update set "
            "hash = excluded.hash, definition = excluded.definition, pinned_us = excluded.pinned_us, "
            "accepted_by = excluded.accepted_by"
        )
        for t in tools:
            definition = orjson.dumps(pinned_parts(t.definition))
            self.store.change(statement, t.server, t.name, t.definition_hash, definition, now_us(), by)

    def _pinned(self, server: str) -> dict[str, _Pin]:
        query = "select tool, hash, definition, accepted_by from registry_pins where server = ?"
        return {tool: _Pin(*pin) for tool, *pin in self.store.rows(query, server)}

    # --- registered servers

    def registered(self) -> list[ServerSpec]:
        """Servers added while running, oldest first."""
        rows = self.store.rows("select spec from registry_servers order by added_us, id")
        return [msgspec.json.decode(row[0], type=ServerSpec) for row in rows]

    def register(self, spec: ServerSpec) -> None:
        """Remember `spec` beyond a restart. Headers are stored as given; the file is readable by its owner alone."""
        statement = (
            "insert into registry_servers values (?, ?, ?) on conflict (id) "
            "do update set spec = excluded.spec, added_us = excluded.added_us"
        )
        self.store.change(statement, spec.id, msgspec.json.encode(spec), now_us())

    def forget(self, id: str) -> None:
        """Forget a registered server and the definitions pinned for it."""
        with self.store.exclusively("pins"):
            self.store.change("delete from registry_servers where id = ?", id)
            self.store.change("delete from registry_pins where server = ?", id)
            self.store.change("delete from registry_varying where server = ?", id)


def _is_new(pinned: Mapping[str, _Pin], spec: ServerSpec, tool: Tool) -> bool:
    """Whether the definition is pinned without asking."""
    pin = pinned.get(tool.name)
    # Our own servers change with our own code, by an upgrade that the user made; there is nobody to ask.
    return pin is None or (pin.hash != tool.definition_hash and spec.trust == "bundled")


def _judged(tool: Tool, pin: _Pin, template: DefinitionTemplate | None, *, bundled: bool) -> Tool:
    """`tool` as it stands beside its pin: quarantined or not, by whom it was accepted, and what varies in it."""
    why, accepted_by = "", pin.by if pin.by not in ("", FIRST_SEEN, "bundled") else ""
    varies: tuple[str, ...] = ()
    if tool.definition_hash != pin.hash:
        listed = pinned_parts(tool.definition)
        beyond = template.objection(listed) if template is not None else ""
        pinned = orjson.loads(pin.definition)
        if template is not None and not beyond:
            varies = template.varied(listed)
        elif not closed_addition(pinned, listed):
            parts = ", ".join(difference(pinned, tool.definition)) or "definition"
            agreed = f"; beyond what may vary: {beyond}" if beyond else ""
            why, accepted_by = (
                f"Its definition is not the one first seen ({parts} changed{agreed}); accept it first.",
                "",
            )
    if not why and not accepted_by and (hides := concealment(tool.definition)):
        why = f"{hides} Accept it if that is meant to be so."
    if not why and not accepted_by and not bundled and (speaks := objection(tool.definition)):
        why = f"{speaks} Read it, and accept it if that is meant to be so."
    if (why, accepted_by, varies) == (tool.quarantined, tool.accepted_by, tool.varies):
        return tool
    return msgspec.structs.replace(tool, quarantined=why, accepted_by=accepted_by, varies=varies)


def acceptance_detail(pins: DefinitionPins, tool: Tool, by: str, *, varying: bool) -> JSON:
    """What the record says of an acceptance.

    Raises:
        MisuseError: what varies cannot be told from the versions that there are.
    """
    detail = {"tool": tool.name, "by": by, "hash": tool.definition_hash, "changes": pins.changes(tool)}
    if not varying:
        return detail
    template = pins.template(tool)
    if isinstance(template, str):
        raise MisuseError(
            f"What varies in {tool.qualified!r} cannot be accepted once for all: {template}",
            hint="Accept this version alone, or ask the server's author to keep the definition the same.",
        )
    return {**detail, "varying": template.shown}


def difference(pinned: JSON, listed: JSON) -> JSON:
    """Part → {"pinned", "listed"} for every part of a definition that differs."""
    listed = pinned_parts(listed)
    return {
        part: {"pinned": pinned.get(part), "listed": listed.get(part)}
        for part in PINNED
        if pinned.get(part) != listed.get(part)
    }
