"""`workbench add` and `workbench remove`: servers that every start from now on runs."""

from __future__ import annotations

import base64
import json
import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

import click

from workbench.cli.context import local_settings, program
from workbench.display_text import terminal_text
from workbench.events import MisuseError

if TYPE_CHECKING:
    from workbench.registry import ReloadResult, ServerSpec, ServerState
    from workbench.registry.configuration.added_servers import AddedServers
    from workbench.registry.configuration.client_layouts import FileContent

FROM_ARGUMENTS = "arguments"
"""Name in place of a file for a server that the command line describes."""
_TOKEN = re.compile(r"(?=[^/\\. ]*\d)[\w+/=-]{20,}")
"""What a credential looks like: long, with digits, and no path."""
_PASSWORD = re.compile(r"(?<=://)[^/@\s]+(?=@)")


@dataclass
class AddPlan:
    """What would be added: by id, and what would not."""

    source: str = ""
    """What was given, where it is no file."""
    replaced: set[str] = field(default_factory=set)
    servers: dict[str, ServerSpec] = field(default_factory=dict)
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


@click.command()
@click.argument("source", required=False)
@click.argument("arguments", nargs=-1)
@click.option("--from", "client", help="Take the servers of this client, e.g. claude, claude-code, cursor, vscode.")
@click.option("--only", multiple=True, help="Take only this server; repeat for more.")
@click.option("--name", help="Name of the server. For a URL or a package.")
@click.option("--env", "env", multiple=True, help="NAME=value for the server; repeat for more. For a package.")
@click.option(
    "--header", "headers", multiple=True, help="HTTP header 'Name: value' to send to it; repeat for more. For a URL."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def add(
    source: str | None,
    arguments: tuple[str, ...],
    client: str | None,
    only: tuple[str, ...],
    name: str | None,
    env: tuple[str, ...],
    headers: tuple[str, ...],
    yes: bool,
) -> None:
    """Keep servers in the state folder: a platform that runs starts them, and so does every later `workbench up`.

    SOURCE is a configuration file of any client, a server.json, a URL, npm:PACKAGE, pypi:PACKAGE or oci:IMAGE.
    ARGUMENTS go to a package's program; write -- before those that begin with a hyphen. What will run is shown first.

    \b
    workbench add --from cursor
    workbench add ~/projects/site/.mcp.json --only database
    workbench add https://mcp.example.com/mcp --header 'Authorization: Bearer ${EXAMPLE_TOKEN}'
    workbench add npm:@modelcontextprotocol/server-filesystem -- ~/Documents
    """
    from workbench.registry.configuration.added_servers import AddedServers

    settings = local_settings("`workbench add`")
    if (source is None) == (client is None):
        _offer()
        raise MisuseError("Nothing was said to be added." if source is None else "Both SOURCE and --from are given.",
                     hint="Give a file, a URL, npm:PACKAGE or pypi:PACKAGE, or --from CLIENT.")  # fmt: skip
    added = AddedServers(settings.home)
    plan = AddPlan(source=source or "")
    for path, found in _sources(source, client, arguments, name, env, headers):
        _plan(plan, path, found, added, only)
    unknown = [one for one in only if not any(one in (id, spec.title) for id, spec in plan.servers.items())]
    _show(plan)
    if unknown and not plan.left_out:
        raise MisuseError(
            f"There is no server {unknown[0]!r} in it.", hint=f"There are {', '.join(plan.servers) or 'none'}."
        )
    if not plan.servers:
        raise MisuseError("There is no server in it that could run.", hint="What was left out is named above.")
    if not yes:
        if not sys.stdin.isatty():
            raise MisuseError("Nobody was asked whether to add this.", hint="Look at what is shown, and give --yes.")
        click.confirm(
            f"Run {'these' if len(plan.servers) > 1 else 'this'} at every `workbench up` from now on?", abort=True
        )
    added.add(plan.entries, plan.inputs)
    click.echo(f"Added {', '.join(plan.servers)} to {added.path}.", err=True)
    if not take_over(settings.home, plan.servers):
        click.echo(f"{program()} up starts them, {program()} remove forgets them.", err=True)
    elif unset := [name for entry in plan.entries.values() for name in _environment(entry) if name in os.environ]:
        shown = ", ".join(map(terminal_text, dict.fromkeys(unset)))
        click.echo(f"Of {shown} the values count that `workbench up` was started with.", err=True)


@click.command()
@click.argument("servers", nargs=-1, required=True)
def remove(servers: tuple[str, ...]) -> None:
    """Forget servers that were added: a platform that runs ends them, and no later `workbench up` starts them."""
    from workbench.registry.configuration.added_servers import AddedServers

    added = AddedServers(local_settings("`workbench remove`").home)
    added.remove(servers)
    click.echo(f"Removed {', '.join(servers)} from {added.path}.", err=True)
    take_over(added.home)


def take_over(home: Path, named: Collection[str] = ()) -> bool:
    """Have the platform that runs on a state folder, if one does, read its configuration anew, and tell what it did.

    Args:
        home: the state folder.
        named: servers whose state is told in any case.

    Returns:
        Whether one runs.
    """
    import workbench
    from workbench.events import WorkbenchError
    from workbench.platform.run_file import find_running

    if (running := find_running(home)) is None:
        return False
    try:
        with workbench.open(home=home, attach=True, source="cli") as wb:
            tell_reloaded(wb.reload_servers(), wb.servers(), named)
    except WorkbenchError as e:
        click.secho(f"The platform at {running.url} goes on as it was: {terminal_text(str(e))}", fg="red", err=True)
        click.secho("Stop it with Ctrl-C and start it again to have this change.", fg="red", err=True)
    return True


def tell_reloaded(done: ReloadResult, states: Iterable[ServerState], named: Collection[str] = ()) -> None:
    """What a running platform started and ended, and how that which it started is doing."""
    known = {state.id: state for state in states}
    for id in done.removed:
        click.echo(f"{id} was ended.", err=True)
    for id in dict.fromkeys((*done.added, *done.replaced, *named)):
        if (state := known.get(id)) is None:
            continue
        verb = "started anew: " if id in done.replaced else "started: " if id in done.added else ""
        if state.status == "ready":
            click.echo(f"{id} {verb}ready, {state.tools} tool{'' if state.tools == 1 else 's'}.", err=True)
        else:
            why = f" {terminal_text(state.last_error)}" if state.last_error else ""
            click.secho(f"{id} {verb}{state.status}.{why}", fg="yellow", err=True)


def _offer() -> None:
    for line in offers():
        click.echo(line, err=True)


def offers() -> Iterator[str]:
    """A line for each configuration that is found on this machine. None of it is run."""
    from workbench.registry.configuration.locations import installed

    for client, files in installed().items():
        for path, number in files.items():
            yield f"{client:<12} {number} server{'' if number == 1 else 's'} in {path}: {program()} add --from {client}"


# --- where servers come from


def _sources(
    source: str | None,
    client: str | None,
    arguments: tuple[str, ...],
    name: str | None,
    env: tuple[str, ...],
    headers: tuple[str, ...],
) -> Iterator[tuple[Path, FileContent]]:
    """Files, or what stands for one, with the servers that are found in them.

    Raises:
        MisuseError: there are none, or the options do not go with the source.
    """
    from workbench.registry.configuration.client_layouts import FileContent, FoundServer, find_servers
    from workbench.registry.configuration.file_syntax import read_document
    from workbench.registry.configuration.locations import CLIENTS, places_of

    if client is not None:
        places = places_of(client)
        there = [path for path in places if path.is_file()]
        if not there:
            raise MisuseError(f"{client} keeps no servers here.", hint=f"Looked at {', '.join(map(str, places))}.")
        for path in there:
            yield path, find_servers(read_document(path).value, path)
        return
    assert source is not None
    made = _entry(source, arguments, _pairs(env, "=", "--env"), _pairs(headers, ":", "--header"))
    if made is not None:
        called, entry = made
        yield Path.home() / FROM_ARGUMENTS, FileContent(servers=[FoundServer(name or called, entry, ())])
        return
    if arguments or env or headers or name:
        raise MisuseError(f"{source!r} is a file, and says itself what its servers are called and get.",
                     hint="Arguments, --name, --env and --header are for packages and URLs.")  # fmt: skip
    path = Path(source).expanduser()
    if not path.exists() and source.lower() in CLIENTS:
        raise MisuseError(
            f"There is no file {source!r}.", hint=f"Did you mean {program()} add --from {source.lower()}?"
        )
    yield path, find_servers(read_document(path).value, path)


def _pairs(texts: tuple[str, ...], separator: str, option: str) -> dict[str, str]:
    found = {}
    for text in texts:
        name, there, value = text.partition(separator)
        if not there or not name.strip():
            raise MisuseError(
                f"{option} {text[:80]!r} has no {separator!r}.", hint=f"Write {option} 'NAME{separator} value'."
            )
        found[name.strip()] = value.strip()
    return found


def _entry(
    source: str, arguments: tuple[str, ...], env: dict[str, str], headers: dict[str, str]
) -> tuple[str, dict[str, Any]] | None:
    """Name and entry of a URL, a package or an install link; None when `source` is to be a file."""
    from workbench.registry.configuration.manifests import package_entry
    from workbench.registry.configuration.variables import EntryError

    if source.startswith(("http://", "https://")):
        if arguments or env:
            raise MisuseError(f"{source} is reached, not started.", hint="Give --header for what is sent to it.")
        host = urlsplit(source).hostname or "server"
        return re.sub(r"^(mcp|www|api)\.", "", host), {"url": source, "headers": headers}
    if source.startswith(("vscode:", "vscode-insiders:", "cursor:")):
        return _install_link(source)
    registry, colon, package = source.partition(":")
    if not colon or registry not in ("npm", "pypi", "oci", "docker", "nuget"):
        return None
    if headers:
        raise MisuseError(f"{source} is started, not reached.", hint="Give --env for what it gets.")
    name, version = _versioned(registry, package)
    try:
        entry = package_entry(registry, name, version)
    except EntryError as e:
        raise MisuseError(f"{source[:120]}: {e.args[0]}.", hint=e.hint) from e
    if registry in ("oci", "docker"):
        *start, image = entry["args"]
        entry["args"] = [*start, *(word for variable in env for word in ("-e", variable)), image]
    called = re.sub(
        r"^(mcp-server-|server-|mcp-)|(-mcp-server|-mcp|-server)$", "", name.rsplit("/", 1)[-1].split("[")[0]
    )
    return called or name, {**entry, "args": [*entry["args"], *arguments], "env": env}


def _versioned(registry: str, package: str) -> tuple[str, str]:
    """A package's name and version, as its registry writes them: `name@1.0`, `name==1.0`, `image:1.0`."""
    joints = {"npm": ("@",), "nuget": ("@",), "pypi": ("==", "@"), "oci": (":",), "docker": (":",)}[registry]
    for joint in joints:
        at = package.rfind(joint)
        if at > 0 and "/" not in package[at:]:
            return package[:at], package[at + len(joint) :]
    return package, ""


def _install_link(link: str) -> tuple[str, dict[str, Any]]:
    """The server of a link with which web pages offer a server to an editor."""
    query = urlsplit(link).query
    try:
        if link.startswith("cursor:"):
            given = parse_qs(query)
            text = given["config"][0].replace(" ", "+")
            entry = json.loads(base64.b64decode(text + "=" * (-len(text) % 4)))
            return given.get("name", ["server"])[0], dict(entry)
        entry = dict(json.loads(unquote(query)))
        return str(entry.get("name", "server")), entry
    except (ValueError, KeyError, TypeError) as e:
        raise MisuseError(
            f"{link[:80]!r} is no link to install a server.", hint="Give the URL of its MCP endpoint."
        ) from e


# --- what would be added


def _plan(plan: AddPlan, path: Path, found: FileContent, added: AddedServers, only: tuple[str, ...]) -> None:
    from workbench.registry.configuration.added_servers import portable
    from workbench.registry.configuration.mcp_json import entry_of
    from workbench.registry.configuration.variables import ConfigurationSource, EntryError, inputs_in

    plan.left_out += [f"{path}: {what}." for _, what in found.problems]
    place = ConfigurationSource(path, inputs=found.inputs, closed=(added.home,))
    before = added.entries()
    for server in found.servers:
        known = added.free_id(server.name)  # as it was called if it was added before
        id = added.free_id(
            server.name, [other for other in (*plan.servers, *before) if other != known or other in plan.servers]
        )
        if only and not {id, server.name} & set(only):
            continue
        try:
            entry = entry_of(server)
            if why := server.switched_off or entry.switched_off:
                plan.left_out.append(f"{server.name}: {why}.")
                continue
            spec, kept = portable(server, entry, place, id)
        except EntryError as e:
            plan.left_out.append(f"{server.name}: {str(e.args[0]).rstrip('.')}. {e.hint}")
            continue
        plan.servers[id], plan.entries[id] = spec, kept
        if id in before and before[id] != kept:
            plan.replaced.add(id)
        plan.inputs |= {name: {**found.inputs, **entry.inputs}.get(name, {}) for name in inputs_in(kept)}


def _show(plan: AddPlan) -> None:
    """All that would run, as it would run. What looks like a credential is named and not shown."""
    from workbench.registry.configuration.variables import inputs_in

    for id, spec in plan.servers.items():
        source = plan.source if Path(spec.source).name == FROM_ARGUMENTS else spec.source
        click.secho(f"{id}  (from {terminal_text(source)})", bold=True)
        if id in plan.replaced:
            click.secho("  replaces the one of that name that was added before", fg="yellow")
        if spec.title not in ("", id):
            click.echo(f"  title      {terminal_text(spec.title)}")
        if spec.command:
            click.echo(f"  runs       {terminal_text(_line(spec.command))}")
            click.echo(f"  in         {terminal_text(spec.cwd)}")
        for url in (spec.url, *spec.more_urls) if spec.url else ():
            click.echo(f"  reaches    {terminal_text(_PASSWORD.sub('…', url))}")
        for name, value in spec.env.items():
            click.echo(f"  variable   {terminal_text(name)}={terminal_text(_shown(name, value))}")
        for name, value in spec.headers.items():
            click.echo(f"  header     {terminal_text(name)}: {terminal_text(_shown(name, value))}")
        entry = plan.entries[id]
        for file in entry.get("envFile", ()):
            click.echo(f"  variables  of the file {terminal_text(file)}")
        for name in (*entry.get("env_vars", ()), *_environment(entry)):
            click.echo(f"  gets       the variable {terminal_text(name)} of the environment")
        for name in (*inputs_in(dict(entry)), *_named_secrets(entry)):
            click.echo(f"  gets       the secret {terminal_text(name)}")
        for notice in spec.notices:
            click.secho(f"  {terminal_text(notice)}", dim=True)
    for line in plan.left_out:
        click.secho(f"Left out: {terminal_text(line)}", fg="yellow", err=True)


def _line(words: tuple[str, ...]) -> str:
    import shlex

    return " ".join(word if re.fullmatch(r"[\w@%+=:,./~${}-]+", word) else shlex.quote(word) for word in words)


def _environment(entry: Mapping[str, Any]) -> list[str]:
    text = json.dumps(entry, ensure_ascii=False)
    return list(dict.fromkeys(re.findall(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-[^{}]*)?\}", text)))


def _named_secrets(entry: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(re.findall(r"secret:([^{}\"\s]+)", json.dumps(entry, ensure_ascii=False))))


def _shown(name: str, value: str) -> str:
    from workbench.secrets import is_telling

    if "${" not in value and not value.startswith("secret:") and (is_telling(name) or _TOKEN.fullmatch(value)):
        return "…"
    return _PASSWORD.sub("…", value)
