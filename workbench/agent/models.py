"""Which model a provider uses: read from `models.toml`, never from code."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.config import Settings
from workbench.events import MisuseError
from workbench.provider_table import ladder

SHIPPED = Path(__file__).with_name("models.toml")


def _tables(settings: Settings) -> dict[str, dict[str, Any]]:
    """The shipped table, with the user's own entries over it.

    Raises:
        MisuseError: the user's file is no TOML.
    """
    tables: dict[str, dict[str, Any]] = {row.name: {} for row in ladder() if not row.in_process}
    tables |= tomllib.loads(SHIPPED.read_text(encoding="utf-8"))
    own = settings.home / "models.toml"
    if own.is_file():
        try:
            found = tomllib.loads(own.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise MisuseError(f"{own} is not valid TOML: {error}.", hint="Mend the file or move it away.") from error
        for name, values in found.items():
            if name not in tables or not isinstance(values, dict):
                raise MisuseError(f"{own} has an entry {name!r}.", hint=f"Expected tables named {', '.join(tables)}.")
            tables[name].update(values)
    return tables


def model_of(provider: str, settings: Settings, env: Mapping[str, str], *, asked: str | None = None) -> str:
    """The model that `provider` uses: asked for, else the setting, else its variable, else the table.

    The setting `model` counts only where it can be meant: for the provider that the settings name, or whose names it
    resembles when they name none.
    """
    if asked:
        return asked
    if settings.model and (settings.provider == provider or provider_of(settings.model, settings) == provider):
        return settings.model
    table = _tables(settings).get(provider, {})
    return env.get(str(table.get("variable", f"{provider.upper()}_MODEL")), "") or str(table.get("default", ""))


def provider_of(model: str, settings: Settings) -> str:
    """The provider whose models are called like that; empty when none is known to be."""
    for name, table in _tables(settings).items():
        if any(model.startswith(prefix) for prefix in table.get("prefixes", ())):
            return name
    return ""
