"""The servers that come with the workbench, and how each is launched."""

from __future__ import annotations

import sys
from pathlib import Path

import workbench
from workbench.config import Settings
from workbench.events import Misuse
from workbench.registry.mcpjson import read_mcp_json
from workbench.registry.server import ServerSpec


def servers_folder() -> Path:
    """Where the bundled servers are: in a clone beside the package, or inside an installed one.

    Raises:
        Misuse: neither is there; the installation is incomplete.
    """
    package = Path(workbench.__file__).resolve().parent
    for folder in (package.parent / "servers", package / "_shipped" / "servers"):
        if folder.is_dir():
            return folder
    raise Misuse(f"The bundled servers are missing beside {package}.", hint="Install the package again.")


def configured_specs(settings: Settings) -> list[ServerSpec]:
    """The servers that the configuration on disk asks for: bundled ones, and those of the setting `mcp_config`.

    Raises:
        Misuse: as `bundled_specs` and `read_mcp_json`.
    """
    specs = bundled_specs(settings)
    return specs if settings.mcp_config is None else specs + read_mcp_json(settings.mcp_config)


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
        return ["--folder", _existing(settings.data, "data")]
    return []


def _existing(path: Path, name: str) -> str:
    if not path.is_dir():
        raise Misuse(f"Setting {name} is {str(path)!r}, which is no folder.", hint="Give the path of an existing one.")
    return str(path.resolve())
