"""What was first seen is remembered: definitions of tools, and servers that were registered while running.

A definition that changes after a person or a model got to know it is the oldest trick against tool users (the "rug
pull"). The hash first seen is pinned in the control database; another one quarantines the tool until it is accepted. A
renamed tool counts as a new one.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec
import orjson

from workbench.config import open_control
from workbench.events import JSON, Tool, now_us
from workbench.registry.listing import PINNED, pinned_parts
from workbench.registry.server import ServerSpec

_TABLES = """
create table if not exists registry_pins (
    server text not null, tool text not null, hash text not null, definition blob not null,
    pinned_us integer not null, accepted_by text not null default '', primary key (server, tool)) strict;
create table if not exists registry_servers (
    id text primary key, spec blob not null, added_us integer not null) strict;
"""


class Pins:
    """Pinned definitions and registered servers, in the control database. Methods block for a few milliseconds."""

    def __init__(self, home: Path) -> None:
        self._lock = threading.Lock()
        self._db: sqlite3.Connection = open_control(home)
        self._db.executescript(_TABLES)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def check(self, spec: ServerSpec, tools: Sequence[Tool]) -> list[Tool]:
        """`tools` with those quarantined whose definition is not the pinned one; what is new is pinned."""
        with self._lock:
            rows = self._db.execute("select tool, hash, definition from registry_pins where server = ?", (spec.id,))
            pinned = {tool: (hash, definition) for tool, hash, definition in rows}
            checked, new = [], []
            for tool in tools:
                hash, before = pinned.get(tool.name, ("", b"{}"))
                tool = msgspec.structs.replace(tool, quarantined="") if tool.quarantined else tool
                # Our own servers change with our own code, by an upgrade that the user made; there is nobody to ask.
                if not hash or (hash != tool.definition_hash and spec.trust == "bundled"):
                    new.append(tool)
                elif hash != tool.definition_hash:
                    parts = ", ".join(difference(orjson.loads(before), tool.definition)) or "definition"
                    tool = msgspec.structs.replace(
                        tool,
                        quarantined=f"Its definition is not the one first seen ({parts} changed); accept it first.",
                    )
                checked.append(tool)
            self._pin(new, "bundled" if spec.trust == "bundled" else "first seen")
        return checked

    def accept(self, tool: Tool, by: str) -> None:
        """Pin the definition as it is listed now."""
        with self._lock:
            self._pin([tool], by)

    def changes(self, tool: Tool) -> JSON:
        """Part → {"pinned", "listed"} for every part that differs from the pinned definition."""
        with self._lock:
            row = self._db.execute(
                "select definition from registry_pins where server = ? and tool = ?", (tool.server, tool.name)
            ).fetchone()
        return difference(orjson.loads(row[0]), tool.definition) if row else {}

    def _pin(self, tools: Sequence[Tool], by: str) -> None:
        if not tools:
            return
        now = now_us()
        rows = [(t.server, t.name, t.definition_hash, orjson.dumps(pinned_parts(t.definition)), now, by) for t in tools]
        self._db.execute("begin immediate")
        with self._db:
            self._db.executemany("insert or replace into registry_pins values (?, ?, ?, ?, ?, ?)", rows)

    # --- registered servers

    def registered(self) -> list[ServerSpec]:
        """Servers added while running, oldest first."""
        with self._lock:
            rows = self._db.execute("select spec from registry_servers order by added_us, id").fetchall()
        return [msgspec.json.decode(row[0], type=ServerSpec) for row in rows]

    def register(self, spec: ServerSpec) -> None:
        """Remember `spec` beyond a restart. Headers are stored as given; the file is readable by its owner alone."""
        with self._lock:
            self._db.execute(
                "insert or replace into registry_servers values (?, ?, ?)",
                (spec.id, msgspec.json.encode(spec), now_us()),
            )

    def forget(self, id: str) -> None:
        """Forget a registered server and the definitions pinned for it."""
        with self._lock:
            self._db.execute("begin immediate")
            with self._db:
                self._db.execute("delete from registry_servers where id = ?", (id,))
                self._db.execute("delete from registry_pins where server = ?", (id,))


def difference(pinned: JSON, listed: JSON) -> JSON:
    """Part → {"pinned", "listed"} for every part of a definition that differs."""
    listed = pinned_parts(listed)
    return {
        part: {"pinned": pinned.get(part), "listed": listed.get(part)}
        for part in PINNED
        if pinned.get(part) != listed.get(part)
    }
