"""Servers that were added to a state folder: what `workbench add` keeps, so that the next start runs them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from workbench.config import prepare_home
from workbench.events import MisuseError
from workbench.registry.configuration.client_layouts import FoundServer, client_of_entry
from workbench.registry.configuration.entries import ServerEntry
from workbench.registry.configuration.file_syntax import read_document
from workbench.registry.configuration.identifiers import readable_id
from workbench.registry.configuration.resolve_entry import resolve
from workbench.registry.configuration.variables import ConfigurationSource, Variables
from workbench.registry.server import ServerSpec
from workbench.server_manifests import selectable_servers
from workbench.suggestions import close_names

FILE: Final = "mcp.json"


def portable(
    server: FoundServer, entry: ServerEntry, place: ConfigurationSource, id: str
) -> tuple[ServerSpec, dict[str, Any]]:
    """A server as it is kept apart from the file it comes from: its paths are whole, and its variables unread.

    Args:
        server: as it was found.
        entry: of it, in the one form.
        place: where it was found.
        id: its id here.

    Returns:
        What it will be, for a person to look at, and the entry that is kept.

    Raises:
        EntryError: it cannot be used.
    """
    place = ConfigurationSource(
        place.path, place.env, inputs={**place.inputs, **entry.inputs}, closed=place.closed, keep_variables=True
    )
    variables = Variables(place, client_of_entry(server), Path(server.folder) if server.folder else None)
    spec = resolve(entry, id, variables)
    files = [str(variables.path(variables.fill(name))) for name in entry.env_files]
    kept: dict[str, Any] = {"title": spec.title, "description": spec.description}
    if spec.command:
        program, *args = spec.command
        kept |= {"type": "stdio", "command": program, "args": args, "env": spec.env, "cwd": spec.cwd}
        kept |= {"envFile": files, "env_vars": entry.passed_on}
    else:
        kept |= {
            "type": "sse" if spec.sse else "http",
            "url": [spec.url, *spec.more_urls] if spec.more_urls else spec.url,
        }
        kept |= {"headers": spec.headers, "auth": entry.auth}
        kept |= {"tls": {key: value for key, value in spec.tls.to_dict().items() if value} if spec.tls else None}
    kept |= {"timeout_seconds": spec.call_timeout_s, "disabledTools": list(spec.hidden_tools)}
    kept = {key: value for key, value in kept.items() if value not in ("", [], {}, None, 0.0)}
    if spec.only_tools is not None:
        kept["includeTools"] = list(spec.only_tools)
    return spec, kept


class AddedServers:
    """The servers that were added to one state folder.

    Args:
        home: the state folder.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.path = home / FILE

    def entries(self) -> dict[str, dict[str, Any]]:
        """Id → entry.

        Raises:
            MisuseError: the file is there and cannot be read.
        """
        return self._read()[0]

    def free_id(self, name: str, taken: Sequence[str] = ()) -> str:
        """The id that a server of that name gets: that of the same name which was added before, or a free one."""
        return readable_id(name, (*selectable_servers(), *taken))

    def add(self, entries: Mapping[str, dict[str, Any]], inputs: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep `entries` by id, in place of those that have their ids, and what their inputs ask for.

        Raises:
            MisuseError: the state folder cannot be used.
        """
        prepare_home(self.home)
        servers, known = self._read()
        self._write({**servers, **entries}, {**known, **{id: dict(one) for id, one in inputs.items()}})

    def remove(self, ids: Sequence[str]) -> None:
        """Forget servers that were added.

        Raises:
            MisuseError: one of them was not; none is removed then.
        """
        servers, inputs = self._read()
        for id in ids:
            if id not in servers:
                close = close_names(id, servers)
                hint = f"Did you mean {' or '.join(close)}?" if close else f"Added are {', '.join(servers) or 'none'}."
                raise MisuseError(f"No server {id!r} was added.", hint=hint)
        self._write({id: entry for id, entry in servers.items() if id not in ids}, inputs)

    def _read(self) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
        if not self.path.exists():
            return {}, {}
        value = read_document(self.path).value
        servers = value.get("mcpServers") if isinstance(value, dict) else None
        asked = value.get("inputs", []) if isinstance(value, dict) else None
        if not isinstance(servers, dict) or not isinstance(asked, list):
            raise MisuseError(f"{self.path} has no 'mcpServers'.", hint="Correct it, or move it away.")
        return servers, {str(one.get("id")): one for one in asked if isinstance(one, dict)}

    def _write(self, servers: Mapping[str, Any], inputs: Mapping[str, Mapping[str, Any]]) -> None:
        text = json.dumps(
            {"mcpServers": servers, "inputs": [{**one, "id": id} for id, one in inputs.items()]},
            indent=2, ensure_ascii=False,
        )  # fmt: skip
        temporary = self.path.with_name(f"{FILE}.{os.getpid()}.tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)
