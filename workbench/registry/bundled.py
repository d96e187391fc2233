"""The servers that come with the workbench, and how each is launched."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from workbench.config import BUNDLED_SERVERS, Settings
from workbench.events import Misuse
from workbench.registry.configuration.added_servers import FILE
from workbench.registry.configuration.mcp_json import Configuration, read_configuration
from workbench.registry.server import ServerSpec
from workbench.secrets import NoSecret, Secrets


def servers_folder() -> Path:
    """Where the bundled servers are: in a clone beside the package, or inside an installed one.

    Raises:
        Misuse: neither is there; the installation is incomplete.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package.parent / "servers", package / "_shipped" / "servers"):
        if folder.is_dir():
            return folder
    raise Misuse(f"The bundled servers are missing beside {package}.", hint="Install the package again.")


def configured_servers(settings: Settings) -> Configuration:
    """The servers that the configuration on disk asks for, and those of it that do not run.

    They are the bundled ones, those that were added to the state folder, and those of the setting `mcp_config`.

    Raises:
        Misuse: as `bundled_specs` and `read_configuration`.
    """
    found = foreign_servers(settings)
    return Configuration(
        servers=(*bundled_specs(settings), *found.servers),
        excluded=found.excluded,
        notices=found.notices,
        problems=found.problems,
        inputs=found.inputs,
    )


def foreign_servers(settings: Settings) -> Configuration:
    """Of the configured servers those that do not come with the workbench. Secrets that inputs name are looked up.

    Raises:
        Misuse: a file cannot be read at all.
    """
    found = Configuration()
    added = settings.home / FILE
    for path in (added if added.exists() else None, settings.mcp_config):
        if path is None:
            continue
        more = read_configuration(
            path,
            has_secret=_has_secret(settings),
            closed=[settings.home],
            taken=[*BUNDLED_SERVERS, *(spec.id for spec in found.servers), *(one.id for one in found.excluded)],
        )
        found = Configuration(
            servers=(*found.servers, *more.servers), excluded=(*found.excluded, *more.excluded),
            notices=(*found.notices, *more.notices), problems=(*found.problems, *more.problems),
            inputs={**found.inputs, **more.inputs},
        )  # fmt: skip
    return found


def _has_secret(settings: Settings) -> Callable[[str], bool]:
    """Whether the secrets provider has a secret; one that cannot be told is not there."""

    def has(name: str) -> bool:
        try:
            return bool(Secrets.of(settings).read(f"secret:{name}"))
        except (NoSecret, Misuse):
            return False

    return has


def bundled_specs(settings: Settings) -> list[ServerSpec]:
    """The bundled servers that `settings` asks for, and the tables server when there is a data folder.

    Raises:
        Misuse: the servers are missing, or a folder of the settings does not exist.
    """
    folder = servers_folder()
    specs = [_spec(settings, folder, id) for id in settings.servers]
    if settings.data is not None:
        specs.append(_spec(settings, folder, "tables"))
    return specs


def _spec(settings: Settings, folder: Path, id: str) -> ServerSpec:
    return ServerSpec(
        id=id,
        kind="tables" if id == "tables" else "bundled",
        command=(sys.executable, str(folder / id / "server.py"), *_flags(settings, id)),
        env={"WORKBENCH_SERVER_STATE": str(settings.home / "servers"), "PYTHONUNBUFFERED": "1"},
        trust="bundled",
        source="bundled",
    )


def _flags(settings: Settings, id: str) -> list[str]:
    if id == "knowledge":
        return [flag for path in settings.knowledge for flag in ("--folder", _existing(path, "knowledge"))]
    if id == "files" and settings.files_root is not None:
        return ["--root", _existing(settings.files_root, "files_root")]
    if id == "tables" and settings.data is not None:
        nulls = [flag for value in settings.data_null_values for flag in ("--null", value)]
        return ["--folder", _existing(settings.data, "data"), *nulls]
    return []


def _existing(path: Path, name: str) -> str:
    if not path.is_dir():
        raise Misuse(f"Setting {name} is {str(path)!r}, which is no folder.", hint="Give the path of an existing one.")
    return str(path.resolve())
