"""Reads the configuration of MCP servers that a client keeps: an `mcp.json`, or what other clients have instead.

Every server is read by itself. One that cannot be used is left out with the reason and what to do, and all others run;
a file is refused as a whole only when its text cannot be read at all. `docs/configurations.md` says what is read of
which client.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from workbench.display_text import without_hidden
from workbench.events import Record
from workbench.registry.configuration import jsonc
from workbench.registry.configuration.client_layouts import (
    FileContent,
    FoundServer,
    Where,
    client_of_entry,
    find_servers,
    is_manifest,
)
from workbench.registry.configuration.entries import ServerEntry, shape
from workbench.registry.configuration.file_syntax import read_document
from workbench.registry.configuration.identifiers import readable_id
from workbench.registry.configuration.manifests import manifest_entry
from workbench.registry.configuration.resolve_entry import resolve
from workbench.registry.configuration.variables import (
    ConfigurationSource,
    EntryError,
    MissingInputError,
    Variables,
    inputs_in,
)
from workbench.registry.server import ServerSpec
from workbench.server_manifests import selectable_servers

MAX_SERVERS = 500
"""Most servers that are taken from one file."""


class ExcludedServer(Record, frozen=True, kw_only=True):
    """A server of a configuration that does not run, and why."""

    id: str
    title: str
    source: str
    status: Literal["disabled", "invalid"]
    """`disabled`: the configuration switches it off; `invalid`: it cannot be used as it is configured."""
    reason: str
    """What was found, where, and what to do."""
    notices: tuple[str, ...] = ()


class Configuration(Record, frozen=True, kw_only=True):
    """What a configuration file holds."""

    servers: tuple[ServerSpec, ...] = ()
    excluded: tuple[ExcludedServer, ...] = ()
    notices: tuple[str, ...] = ()
    """What was changed or not read of the file as a whole."""
    problems: tuple[str, ...] = ()
    """Parts of the file that should hold servers and do not."""
    inputs: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)
    """Id → how it is asked for, of inputs that servers need and that nobody has given."""


class ConfigurationRemarks(Record, frozen=True, kw_only=True):
    """What a person should know of configuration files as a whole."""

    problems: tuple[str, ...] = ()
    """Parts that should hold servers and do not."""
    notices: tuple[str, ...] = ()
    """What was changed or not read."""


def read_configuration(
    path: Path | str,
    *,
    env: Mapping[str, str] | None = None,
    has_secret: Callable[[str], bool] = lambda name: False,
    closed: Collection[Path] = (),
    taken: Collection[str] | None = None,
) -> Configuration:
    """The servers that a file configures, in its order, and those of it that do not run.

    Args:
        path: the file, in the style of any client: JSON with comments, TOML or YAML.
        env: where variables are looked up; default the environment.
        has_secret: whether the secrets provider has a secret of that name; inputs are filled from it.
        closed: folders whose files no configuration may name, such as the state folder.
        taken: ids that exist already, by default those of the bundled servers; a server of that name gets a suffix.

    Raises:
        MisuseError: the file cannot be read at all; names the line and the column.
    """
    path = Path(path).expanduser()
    document = read_document(path)
    found = find_servers(document.value, path)
    place = ConfigurationSource(
        path, os.environ if env is None else env, inputs=found.inputs, has_secret=has_secret, closed=tuple(closed)
    )
    return _Reading(document, found, place, list(selectable_servers() if taken is None else taken)).result()


def read_mcp_json(path: Path | str, *, env: Mapping[str, str] | None = None) -> list[ServerSpec]:
    """The servers of a file that can run; see `read_configuration`."""
    return list(read_configuration(path, env=env).servers)


def entry_of(server: FoundServer) -> ServerEntry:
    """The entry of one server in the one form, whichever client wrote it.

    Raises:
        EntryError: it cannot be used.
    """
    if not is_manifest(server.entry):
        return shape(server.entry, server.name, client_of_entry(server))
    notices: list[str] = []
    entry, inputs = manifest_entry(server.entry, notices)
    made = shape(entry, server.name, server.client)
    made.inputs = inputs
    made.notices = [*notices, *made.notices]
    return made


class _Reading:
    """One reading of one file: knows where everything stands, so that every report can say so."""

    def __init__(
        self, document: jsonc.JsoncDocument, found: FileContent, place: ConfigurationSource, taken: list[str]
    ) -> None:
        self.document = document
        self.found = found
        self.place = place
        self.taken = taken
        self.excluded: list[ExcludedServer] = []
        self.missing: dict[str, dict[str, Any]] = {}

    def result(self) -> Configuration:
        servers = [spec for server in self.found.servers[:MAX_SERVERS] if (spec := self._server(server)) is not None]
        heads = tuple(server.where for server in self.found.servers)
        own = [(where, what) for where, what in self.document.notices if not any(_within(where, h) for h in heads)]
        notices = [*self.found.notices, *(f"{self._at(where)}: {what}." for where, what in own)]
        if unread := self.found.unread:
            names = ", ".join(key[:60] for key in unread[:12]) + (", …" if unread[12:] else "")
            notices.append(f"{self.place.path}: not read: {names}.")
        if len(self.found.servers) > MAX_SERVERS:
            notices.append(f"{self.place.path}: {len(self.found.servers)} servers; the first {MAX_SERVERS} are used.")
        return Configuration(
            servers=tuple(servers),
            excluded=tuple(self.excluded),
            notices=tuple(map(without_hidden, notices)),
            problems=tuple(
                without_hidden(f"{self._at(where)}: {what}. Expected 'mcpServers'.")
                for where, what in self.found.problems
            ),
            inputs=self.missing,
        )

    def _server(self, server: FoundServer) -> ServerSpec | None:
        id = readable_id(server.name, self.taken)
        self.taken.append(id)
        notices = [
            what[:1].upper() + what[1:] + "." for where, what in self.document.notices if _within(where, server.where)
        ]
        if id != server.name:
            notices.append(f"It is called {server.name[:100]!r} in its configuration, and {id} here.")
        title = server.name
        entry: ServerEntry | None = None
        try:
            entry = entry_of(server)
            entry.notices = [*notices, *entry.notices]
            title = entry.title
            if why := server.switched_off or entry.switched_off:
                self._exclude(id, title, "disabled", f"{self._at(server.where)}: {why}.", entry.notices)
                return None
            place = dataclasses.replace(self.place, inputs={**self.place.inputs, **entry.inputs})
            variables = Variables(place, client_of_entry(server), Path(server.folder) if server.folder else None)
            return resolve(entry, id, variables)
        except EntryError as e:
            if isinstance(e, MissingInputError) and entry is not None:
                self._note_inputs(server, entry)
            reason = f"{self._at((*server.where, *e.where))}: {str(e.args[0]).rstrip('.')}."
            self._exclude(id, title, "invalid", f"{reason} {e.hint}".strip(), notices)
            return None

    def _note_inputs(self, server: FoundServer, entry: ServerEntry) -> None:
        """Remember which inputs a person could give for a server that lacks one."""
        asked = {**self.place.inputs, **entry.inputs}
        for id in dict.fromkeys((*inputs_in(server.entry), *entry.inputs)):
            how = dict(asked.get(id, {}))
            if how.get("default") in (None, "") and not self.place.has_secret(id):
                self.missing[id] = how

    def _exclude(
        self, id: str, title: str, status: Literal["disabled", "invalid"], reason: str, notices: list[str]
    ) -> None:
        self.excluded.append(
            ExcludedServer(
                id=id, title=without_hidden(title)[:200] or id, source=str(self.place.path), status=status,
                reason=without_hidden(reason), notices=tuple(map(without_hidden, notices)),
            )
        )  # fmt: skip

    def _at(self, where: Where) -> str:
        key = ".".join(str(part)[:100] for part in where)
        line = f", line {self.document.line(where)}" if self.document.lines else ""
        return f"{self.place.path}{line}" + (f", key {key}" if key else "")


def _within(where: Where, outer: Where) -> bool:
    return where[: len(outer)] == outer
