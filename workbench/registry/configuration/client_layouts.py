"""Where the servers stand in a configuration: every client has its own key for them, and some have several.

A file is searched for all keys that any client uses, so that the name of the file does not matter. What is found is
returned as it stands; `shape.py` brings the entries into one form.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from workbench.suggestions import close_names

Where = tuple[str | int, ...]

MAX_WRAPPING: Final = 5
"""How deep below the top a key for servers is looked for."""

_LAUNCH = ("command", "cmd", "executable")
_ADDRESS = ("url", "serverUrl", "server_url", "httpUrl", "http_url", "baseUrl", "base_url", "uri", "endpoint", "sseUrl")
LAUNCH_KEYS: Final = _LAUNCH
ADDRESS_KEYS: Final = _ADDRESS

_CONTAINERS = {
    # key, without punctuation and case → the client whose key it is
    "mcpservers": "",
    "servers": "VS Code",
    "mcpserversconfig": "",
    "contextservers": "Zed",
    "modelcontextprotocolservers": "Continue",
    "extensions": "Goose",
}
_UNDERSCORED = {"mcp_servers": "Codex"}
_ENTRY_KEYS = frozenset((*_LAUNCH, *_ADDRESS, "args", "transport", "source", "serverUrls"))
_READ = ("$schema", "inputs", "mcp", "projects", "allowMCPServers", "excludeMCPServers", "disabledMcpServers",
         "disabledMcpjsonServers")  # fmt: skip
"""Keys at the top that are read beside those of servers."""
_NESTING = frozenset(("transport", "command", "config", "mcp_config", "server"))
_OF_MCP = ("allowed", "excluded", "serverCommand", "timeout", "inputs", "discovery", "gallery", "access", "autostart")
_GEMINI = frozenset(("httpUrl", "includeTools", "excludeTools", "authProviderType", "targetAudience"))


@dataclass(frozen=True)
class FoundServer:
    """One server as it stands in a file."""

    name: str
    entry: Any
    where: Where
    """Path of the entry in the file."""
    client: str = ""
    """Whose style it is, where that is known; it decides what a timeout counts and what `$NAME` means."""
    folder: str = ""
    """The project that it belongs to, in a file that holds several."""
    switched_off: str = ""
    """Why it is not to run, where the file says so outside of the entry."""


@dataclass
class FileContent:
    """What a file holds."""

    servers: list[FoundServer] = field(default_factory=list)
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Id of an input → how it is asked for."""
    notices: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    """Keys at the top of the file that have no meaning here."""
    problems: list[tuple[Where, str]] = field(default_factory=list)
    """Parts of the file that should hold servers and do not: where, and what is there."""


def find_servers(value: Any, path: Path) -> FileContent:
    """All servers in the values of a file, in its order.

    Args:
        value: the file's values.
        path: the file; its folder tells clients apart whose files look the same.
    """
    found = FileContent()
    client = _client_of(path)
    if isinstance(value, list):
        found.servers += _listed(value, (), client)
    elif isinstance(value, dict):
        _search(value, (), client, found)
        if not found.servers and not found.problems:
            found.servers += _bare(value, client)
        if not found.servers and not found.problems:
            _misspelt(value, client, found)
    if isinstance(value, dict):
        _switch_off(value, found)
        heads = {server.where[:1] for server in found.servers} | {where[:1] for where, _ in found.problems}
        if () not in heads and found.servers:
            found.unread = [key for key in value if (key,) not in heads and key not in _READ and not _is_container(key)]
    if not found.servers and not found.problems and not _is_empty(value):
        found.problems.append(((), f"no servers were found: {_described(value)}"))
    return found


def _is_container(key: str) -> bool:
    return folded(key.rsplit(".", 1)[-1]) in _CONTAINERS or key in _UNDERSCORED


def is_entry(value: Any) -> bool:
    """Whether `value` looks like the configuration of one server."""
    if not isinstance(value, dict) or not _ENTRY_KEYS & value.keys():
        return False
    return any(isinstance(value.get(key), str | list | dict) for key in _ENTRY_KEYS)


def folded(key: str) -> str:
    """A key without case and punctuation, as clients differ in both: `mcp_servers`, `mcp-servers`, `mcpServers`."""
    return re.sub(r"[^a-z0-9]", "", key.lower())


def _client_of(path: Path) -> str:
    folders = {part.lower() for part in path.parts}
    for folder, client in (
        (".gemini", "Gemini CLI"), (".qwen", "Gemini CLI"), (".amazonq", "Amazon Q"), (".kiro", "Kiro"),
        (".codex", "Codex"), (".roo", "Roo"), (".copilot", "Copilot CLI"), ("opencode", "opencode"),
        ("crush", "Crush"), ("goose", "Goose"), ("zed", "Zed"), (".continue", "Continue"),
    ):  # fmt: skip
        if folder in folders:
            return client
    stem = path.name.lower()
    for start, client in (
        ("gemini-extension", "Gemini CLI"), ("opencode", "opencode"), (".opencode", "opencode"), ("crush", "Crush"),
        (".crush", "Crush"), ("cline_mcp", "Cline"), ("librechat", "LibreChat"),
    ):  # fmt: skip
        if stem.startswith(start):
            return client
    return ""


def _search(value: dict[str, Any], where: Where, client: str, found: FileContent) -> None:
    """Collect the servers of all containers in `value` and, where it is only a wrapping, below."""
    if is_manifest(value):
        found.servers.append(FoundServer(str(value.get("name") or "server"), value, where, "server.json"))
        return
    for key, inner in value.items():
        here = (*where, key)
        last = key.rsplit(".", 1)[-1]  # settings of editors are written mcp.servers
        kind = _UNDERSCORED.get(last, _CONTAINERS.get(folded(last)))
        if key == "inputs":
            found.inputs.update(_inputs(inner))
        elif key == "projects" and isinstance(inner, dict):
            _projects(inner, here, found)
        elif key == "mcp" and isinstance(inner, dict):
            _mcp(inner, here, client, found)
        elif (
            kind is not None
            and (kind != "Goose" or _is_goose(inner))
            and (kind != "VS Code" or not where or _is_ours(inner))
        ):
            _contained(inner, here, kind or client, found)
        elif isinstance(inner, dict) and len(where) < MAX_WRAPPING and _wraps(inner):
            _search(inner, here, client, found)


def _contained(value: Any, where: Where, client: str, found: FileContent) -> None:
    if isinstance(value, dict):
        if is_entry(value) and not any(isinstance(inner, dict) and is_entry(inner) for inner in value.values()):
            found.servers.append(FoundServer(_name_in(value) or "server", value, where, client))
            return
        found.servers += [FoundServer(str(name), entry, (*where, name), client) for name, entry in value.items()]
    elif isinstance(value, list):
        found.servers += _listed(value, where, client)
    elif value is not None:
        found.problems.append((where, f"{where[-1]!r} is {described(value)}, where servers by name are expected"))


def _listed(values: list[Any], where: Where, client: str) -> Iterator[FoundServer]:
    for number, entry in enumerate(values):
        here = (*where, number)
        inner = entry.get("server") if isinstance(entry, dict) else None
        if is_manifest(inner):  # the answer of a registry
            entry, here = inner, (*here, "server")
        if is_manifest(entry):
            yield FoundServer(str(entry.get("name") or f"server-{number + 1}"), entry, here, "server.json")
        elif (
            isinstance(entry, dict)
            and len(entry) == 1
            and not entry.keys() & _NESTING
            and is_entry(next(iter(entry.values())))
        ):
            ((name, only),) = entry.items()
            yield FoundServer(str(name), only, (*here, name), client)
        else:
            yield FoundServer(_name_in(entry) or f"server-{number + 1}", entry, here, client)


def _name_in(entry: Any) -> str:
    if not isinstance(entry, dict):
        return ""
    info = entry.get("info")
    candidates = [entry.get(key) for key in ("name", "id", "serverName", "server_name", "label", "title")]
    candidates += [info.get("name")] if isinstance(info, dict) else []
    return next((name for name in candidates if isinstance(name, str) and name.strip()), "")


def _mcp(value: dict[str, Any], where: Where, client: str, found: FileContent) -> None:
    """The key `mcp`: holds `servers` in VS Code's settings, the servers themselves in opencode and Crush."""
    before = len(found.servers)
    _search(value, where, client, found)
    if len(found.servers) == before and any(is_entry(entry) or _typed(entry) for entry in value.values()):
        kind = "Crush" if client == "Crush" else "opencode"
        found.servers += [
            FoundServer(str(name), entry, (*where, name), kind) for name, entry in value.items() if name not in _OF_MCP
        ]


def _typed(entry: Any) -> bool:
    return isinstance(entry, dict) and entry.get("type") in ("local", "remote", "stdio", "http", "sse")


def _projects(value: dict[str, Any], where: Where, found: FileContent) -> None:
    """Claude Code keeps the servers of each project under its folder."""
    for folder, project in value.items():
        servers = project.get("mcpServers") if isinstance(project, dict) else None
        if isinstance(servers, dict):
            here = (*where, folder, "mcpServers")
            found.servers += [
                FoundServer(str(name), entry, (*here, name), "Claude Code", folder) for name, entry in servers.items()
            ]


def _bare(value: dict[str, Any], client: str) -> list[FoundServer]:
    """A file that is one server, or servers by name without a key around them."""
    if is_entry(value) and (isinstance(value.get("command"), str | list) or not _nested(value)):
        return [FoundServer(_name_in(value) or "server", value, (), client)]
    if not _nested(value):
        return []
    return [FoundServer(str(name), entry, (name,), client) for name, entry in value.items() if isinstance(entry, dict)]


def _nested(value: dict[str, Any]) -> bool:
    return any(is_entry(inner) for inner in value.values())


def _misspelt(value: dict[str, Any], client: str, found: FileContent) -> None:
    known = ("mcpServers", "servers", "mcp_servers", "context_servers")
    for key, inner in value.items():
        close = close_names(key, known, 1)
        if close and isinstance(inner, dict | list):
            if key not in known:
                found.notices.append(f"The key {key[:80]!r} was read as {close[0]!r}.")
            _contained(inner, (key,), client, found)
            return


def _switch_off(value: dict[str, Any], found: FileContent) -> None:
    """Apply lists of names by which some clients switch servers on and off outside of their entries."""
    mcp = value.get("mcp") if isinstance(value.get("mcp"), dict) else {}
    assert isinstance(mcp, dict)
    allowed = _names(mcp.get("allowed")) or _names(value.get("allowMCPServers"))
    excluded = {name for key in ("excluded", "disabled") for name in _names(mcp.get(key))}
    excluded |= {name for key in ("excludeMCPServers", "disabledMcpServers", "disabledMcpjsonServers")
                 for name in _names(value.get(key))}  # fmt: skip
    for number, server in enumerate(found.servers):
        if server.name in excluded or (allowed and server.name not in allowed):
            why = "the file excludes it by name" if server.name in excluded else "the file allows others alone"
            found.servers[number] = FoundServer(
                server.name, server.entry, server.where, server.client, server.folder, why
            )


def _names(value: Any) -> set[str]:
    return {name for name in value if isinstance(name, str)} if isinstance(value, list) else set()


def _inputs(value: Any) -> dict[str, dict[str, Any]]:
    if isinstance(value, dict):
        return {str(id): one if isinstance(one, dict) else {} for id, one in value.items()}
    listed = value if isinstance(value, list) else []
    return {one["id"]: one for one in listed if isinstance(one, dict) and isinstance(one.get("id"), str)}


def is_manifest(value: Any) -> bool:
    """Whether `value` is a `server.json` of the MCP registry, or the manifest of a bundle (MCPB, DXT)."""
    if not isinstance(value, dict):
        return False
    server = value.get("server")
    if isinstance(server, dict) and ("manifest_version" in value or "dxt_version" in value or "mcp_config" in server):
        return True
    published = [value.get("packages"), value.get("remotes")]
    named = isinstance(value.get("name"), str) and not {"mcpServers", "servers"} & value.keys()
    return named and any(isinstance(part, list) and part and isinstance(part[0], dict) for part in published)


def _wraps(value: dict[str, Any]) -> bool:
    """Whether a key for servers stands somewhere below, so that `value` is only what is around it."""
    level: list[Any] = [value]
    for _ in range(MAX_WRAPPING):
        for each in level:
            for key, inner in each.items():
                last = str(key).rsplit(".", 1)[-1]
                if folded(last) in ("mcpservers", "contextservers", "modelcontextprotocolservers"):
                    return True
                if last in ("servers", "mcp") and isinstance(inner, dict) and _is_ours(inner):
                    return True
                if is_manifest(each):
                    return True
        level = [inner for each in level for inner in each.values() if isinstance(inner, dict)]
    return False


def _is_goose(value: Any) -> bool:
    return isinstance(value, dict) and any(
        isinstance(entry, dict) and ("cmd" in entry or "uri" in entry or "bundled" in entry or "type" in entry)
        for entry in value.values()
    )


def _is_ours(value: Any) -> bool:
    """Whether what a key as common as `servers` holds are servers of MCP, or nothing yet."""
    if isinstance(value, dict):
        return (
            not value
            or is_entry(value)
            or any(is_entry(e) or _typed(e) or e is None or e == {} for e in value.values())
            or all(not isinstance(e, dict) for e in value.values())
        )
    return (
        not isinstance(value, list)
        or not value
        or any(is_entry(e) or is_manifest(e) or (isinstance(e, dict) and is_manifest(e.get("server"))) for e in value)
    )


def client_of_entry(server: FoundServer) -> str:
    """Whose style an entry is, by keys that only one client has."""
    if server.client or not isinstance(server.entry, dict):
        return server.client
    return "Gemini CLI" if _GEMINI & server.entry.keys() else ""


def _is_empty(value: Any) -> bool:
    """Whether a file says that there are no servers, as clients write it before the first one is added."""
    return value == [] or (isinstance(value, dict) and (
        not value or any(folded(str(key).rsplit(".", 1)[-1]) in ("mcpservers", "servers", "contextservers", "mcp")
                         for key in value)
    ))  # fmt: skip


def _described(value: Any) -> str:
    if isinstance(value, dict):
        return f"its keys are {', '.join(repr(str(key)[:40]) for key in list(value)[:8])}"
    return f"it holds {described(value)}"


def described(value: Any) -> str:
    """What `value` is, in the words of JSON."""
    for kind, name in ((bool, "true or false"), (str, "a text"), (dict, "an object"), (list, "a list")):
        if isinstance(value, kind):
            return name
    return "null" if value is None else "a number"
