"""What was first seen is remembered: definitions of tools, and servers that were registered while running.

A definition that changes after a person or a model got to know it is the oldest trick against tool users (the "rug
pull"). The hash first seen is pinned in the control database; another one quarantines the tool until it is accepted. A
renamed tool counts as a new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import orjson

from workbench.config import Settings
from workbench.control import Told, open_store
from workbench.events import JSON, Tool, now_us
from workbench.registry.listing import PINNED, pinned_parts
from workbench.registry.server import ServerSpec
from workbench.registry.visible import concealment

_TABLES = """
create table if not exists registry_pins (
    server text not null, tool text not null, hash text not null, definition blob not null,
    pinned_us integer not null, accepted_by text not null default '', primary key (server, tool)) strict;
create table if not exists registry_servers (
    id text primary key, spec blob not null, added_us integer not null) strict;
"""


FIRST_SEEN: Final = "first seen"
"""Who accepted a definition that nobody was asked about."""


class _Pin(NamedTuple):
    hash: str
    definition: bytes
    by: str


class Pins:
    """Pinned definitions and registered servers, in the control store. Methods block for a few milliseconds.

    Args:
        where: settings, or a state folder alone.
    """

    def __init__(self, where: Settings | Path) -> None:
        self.store = open_store(where)
        changes = {
            "registry_pins": Told("server", "insert or update or delete"),
            "registry_servers": Told("id", "insert or update or delete"),
        }
        self.store.prepare("registry", _TABLES, told=changes)

    def close(self) -> None:
        """Let go of the store."""
        self.store.close()

    def check(self, spec: ServerSpec, tools: Sequence[Tool]) -> list[Tool]:
        """`tools` as they may be called: what is new is pinned, and what nobody has accepted is quarantined.

        That is a definition other than the pinned one, and one that hides text from people.
        """
        pinned = self._pinned(spec.id)
        if all(self._hash(pinned, tool) == tool.definition_hash for tool in tools):
            return [_judged(tool, pinned[tool.name]) for tool in tools]
        with self.store.exclusively("pins"):  # of two that see a tool first, one pins it and the other sees that
            pinned = self._pinned(spec.id)
            checked, new = [], []
            by = "bundled" if spec.trust == "bundled" else FIRST_SEEN
            for tool in tools:
                pin = pinned.get(tool.name)
                # Our own servers change with our own code, by an upgrade that the user made; there is nobody to ask.
                if pin is None or (pin.hash != tool.definition_hash and spec.trust == "bundled"):
                    new.append(tool)
                    pin = _Pin(tool.definition_hash, b"", by)
                checked.append(_judged(tool, pin))
            self._pin(new, by)
        return checked

    def names(self) -> dict[str, list[str]]:
        """Server → names of the tools that it has ever listed."""
        found: dict[str, list[str]] = {}
        for server, tool in self.store.rows("select server, tool from registry_pins order by server, tool"):
            found.setdefault(server, []).append(tool)
        return found

    def accept(self, tool: Tool, by: str) -> None:
        """Pin the definition as it is listed now."""
        with self.store.exclusively("pins"):
            self._pin([tool], by)

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

    @staticmethod
    def _hash(pinned: dict[str, _Pin], tool: Tool) -> str:
        return pinned[tool.name].hash if tool.name in pinned else ""

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


def _judged(tool: Tool, pin: _Pin) -> Tool:
    """`tool` as it stands beside its pin: quarantined or not, and by whom it was accepted."""
    why, accepted_by = "", ""
    if tool.definition_hash != pin.hash:
        parts = ", ".join(difference(orjson.loads(pin.definition), tool.definition)) or "definition"
        why = f"Its definition is not the one first seen ({parts} changed); accept it first."
    elif pin.by not in ("", FIRST_SEEN, "bundled"):
        accepted_by = pin.by
    elif hides := concealment(tool.definition):
        why = f"{hides} Accept it if that is meant to be so."
    if (why, accepted_by) == (tool.quarantined, tool.accepted_by):
        return tool
    return msgspec.structs.replace(tool, quarantined=why, accepted_by=accepted_by)


def difference(pinned: JSON, listed: JSON) -> JSON:
    """Part → {"pinned", "listed"} for every part of a definition that differs."""
    listed = pinned_parts(listed)
    return {
        part: {"pinned": pinned.get(part), "listed": listed.get(part)}
        for part in PINNED
        if pinned.get(part) != listed.get(part)
    }
