"""The servers that come with the workbench, and how each is launched."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.config import Settings, names
from workbench.events import MisuseError
from workbench.registry.configuration.added_servers import FILE
from workbench.registry.configuration.mcp_json import Configuration, read_configuration
from workbench.registry.server import ServerSpec
from workbench.secrets import SecretNotFoundError, SecretResolver
from workbench.server_manifests import ServerManifest, bundled_manifests, selectable_servers


def configured_servers(settings: Settings) -> Configuration:
    """The servers that the configuration on disk asks for, and those of it that do not run.

    They are the bundled ones, those that were added to the state folder, and those of the setting `mcp_config`.

    Raises:
        MisuseError: as `bundled_specs` and `read_configuration`.
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
        MisuseError: a file cannot be read at all.
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
            taken=[*selectable_servers(), *(spec.id for spec in found.servers), *(one.id for one in found.excluded)],
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
            return bool(SecretResolver.of(settings).read(f"secret:{name}"))
        except (SecretNotFoundError, MisuseError):
            return False

    return has


def bundled_specs(settings: Settings) -> list[ServerSpec]:
    """The bundled servers that `settings` asks for: those that `servers` names, and those of settings that are set.

    Raises:
        MisuseError: the servers are missing, a manifest is wrong, or a folder of the settings does not exist.
    """
    manifests = {manifest.id: manifest for manifest in bundled_manifests()}
    named = [manifests[id] for id in settings.servers]
    started = [m for m in manifests.values() if m.launch.setting and _setting(settings, m, m.launch.setting)]
    return [_spec(settings, manifest) for manifest in (*named, *started)]


def _spec(settings: Settings, manifest: ServerManifest) -> ServerSpec:
    return ServerSpec(
        id=manifest.id,
        kind=manifest.launch.kind,
        command=(sys.executable, *manifest.command, *_flags(settings, manifest)),
        env={"WORKBENCH_SERVER_STATE": str(settings.home / "servers"), "PYTHONUNBUFFERED": "1"},
        trust="bundled",
        source="bundled",
    )


def _flags(settings: Settings, manifest: ServerManifest) -> list[str]:
    found: list[str] = []
    for flag, name in manifest.launch.flags.items():
        value = _setting(settings, manifest, name)
        for each in value if isinstance(value, tuple) else (value,):
            if each is not None:
                found += [flag, _existing(each, name) if isinstance(each, Path) else str(each)]
    return found


def _setting(settings: Settings, manifest: ServerManifest, name: str) -> Any:
    """The value of a setting that a manifest names."""
    if name not in names():
        raise MisuseError(
            f"The manifest of the bundled server {manifest.id!r} names {name!r}, which is no setting.",
            hint="See `workbench doctor` for all settings.",
        )
    return getattr(settings, name)


def _existing(path: Path, name: str) -> str:
    if not path.is_dir():
        raise MisuseError(
            f"Setting {name} is {str(path)!r}, which is no folder.", hint="Give the path of an existing one."
        )
    return str(path.resolve())
