"""What the bundled servers say of themselves: the `server.json` in each folder of `servers/`.

A bundled server is one folder there, and no other file lists it. The format is that of the official registry; how the
server is launched and what can be asked of it stand where that lets publishers add their own.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Literal

import msgspec

from workbench.events import MisuseError, Record

MANIFEST = "server.json"
PUBLISHER = "io.modelcontextprotocol.registry/publisher-provided"
LAST = 1000
"""Order of what names none."""


class LaunchOptions(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`workbench/launch`: when a server is launched, and with which options."""

    order: int = LAST
    """Its place among the others; the lowest comes first."""
    default: bool = True
    """Whether it is launched unless the setting `servers` says otherwise."""
    setting: str = ""
    """It is launched when this setting is set, instead of when `servers` names it."""
    flags: dict[str, str] = msgspec.field(default_factory=dict)
    """Option of its command line → the setting whose value it gets; given once for each member of a list."""
    kind: Literal["bundled", "tables"] = "bundled"
    """What `ServerState.kind` says of it; `tables` serves the user's own tables."""


class ExampleQuestion(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of `workbench/examples`: a question that the app and the command line offer."""

    question: str
    order: int = LAST
    """Its place among the questions of all servers; the lowest comes first."""
    servers: tuple[str, ...] = ()
    """Other servers that have to be there, too."""


class ServerManifest(Record, frozen=True, kw_only=True):
    """One bundled server."""

    id: str
    """The name of its folder; tools are called `id.tool`."""
    command: tuple[str, ...]
    """Its program as a path, and arguments; run by the interpreter that runs the workbench."""
    launch: LaunchOptions
    examples: tuple[ExampleQuestion, ...] = ()


class _Published(msgspec.Struct, frozen=True):
    """What the workbench reads of a manifest; scopes and tools are for people and registries."""

    command: tuple[str, ...] = msgspec.field(name="workbench/command")
    launch: LaunchOptions = msgspec.field(name="workbench/launch")
    examples: tuple[ExampleQuestion, ...] = msgspec.field(name="workbench/examples")


def servers_folder() -> Path:
    """Where the bundled servers are: in a clone beside the package, or inside an installed one.

    Raises:
        MisuseError: neither is there; the installation is incomplete.
    """
    package = Path(__file__).resolve().parent
    for folder in (package.parent / "servers", package / "_shipped" / "servers"):
        if folder.is_dir():
            return folder
    raise MisuseError(f"The bundled servers are missing beside {package}.", hint="Install the package again.")


def bundled_manifests() -> tuple[ServerManifest, ...]:
    """The manifests of all bundled servers, in their order.

    Raises:
        MisuseError: the servers are missing, or a manifest is wrong.
    """
    return _manifests(servers_folder())


def selectable_servers() -> tuple[str, ...]:
    """Ids of the servers that the setting `servers` may name, in their order."""
    return tuple(manifest.id for manifest in bundled_manifests() if not manifest.launch.setting)


def default_servers() -> tuple[str, ...]:
    """Ids of the servers that are launched unless the setting `servers` says otherwise."""
    return tuple(m.id for m in bundled_manifests() if m.launch.default and not m.launch.setting)


@cache
def _manifests(folder: Path) -> tuple[ServerManifest, ...]:
    found = [read_manifest(path) for path in sorted(folder.glob(f"*/{MANIFEST}"))]
    return tuple(sorted(found, key=lambda manifest: (manifest.launch.order, manifest.id)))


def read_manifest(path: Path) -> ServerManifest:
    """The manifest of one bundled server.

    Raises:
        MisuseError: the file is not valid JSON, its name is not that of the folder, or what it says of the launch
            is wrong.
    """
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
        name = str(document["name"]).rpartition("/")[2]
        if name != path.parent.name:
            raise ValueError(f"its name ends in {name!r}, and its folder is called {path.parent.name!r}")
        published = msgspec.convert(document["_meta"][PUBLISHER], _Published)
        if len(published.command) < 2 or published.command[0] != "python":
            raise ValueError(f"its command is {list(published.command)}; expected python, a file, and options")
    except (OSError, ValueError, KeyError, TypeError, msgspec.MsgspecError) as e:
        why = f"{e} is missing" if isinstance(e, KeyError) else str(e)
        raise MisuseError(
            f"The manifest {path} cannot be used: {why}.", hint="Write it again with `python -m servers.manifest`."
        ) from e
    program, *options = published.command[1:]
    return ServerManifest(
        id=name,
        command=(str(path.parent / program), *options),
        launch=published.launch,
        examples=published.examples,
    )
