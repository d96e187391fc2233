"""The table of policy engines, and the choice of the one that decides calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from workbench.config import Settings
from workbench.events import MisuseError
from workbench.policy.decision_engine import DecisionEngine
from workbench.policy.engines.embedded_engine import EmbeddedEngine
from workbench.policy.engines.opa_engine import OpaEngine
from workbench.policy.rego.loaded_rules import LoadedRules


class EngineRow(NamedTuple):
    """One policy engine."""

    name: str
    """What the setting `policy_engine` calls it."""
    open: Callable[[Settings, LoadedRules], DecisionEngine]
    """Called once by each process; the rule files here are for engines that read rules or data from them."""
    setting: str = ""
    """Setting that chooses this engine by having a value, where `policy_engine` names none."""


ENGINES: list[EngineRow] = [
    EngineRow(EmbeddedEngine.name, EmbeddedEngine),
    EngineRow(OpaEngine.name, OpaEngine, setting="opa_url"),
]
"""The first one decides where no setting chooses another."""


def open_engine(settings: Settings, rules: LoadedRules) -> DecisionEngine:
    """The engine that decides calls under these settings.

    Raises:
        MisuseError: `policy_engine` names no engine, or the engine cannot be opened as it is configured.
    """
    if not settings.policy_engine:
        row = next((row for row in ENGINES if row.setting and getattr(settings, row.setting)), ENGINES[0])
        return row.open(settings, rules)
    for row in ENGINES:
        if row.name == settings.policy_engine:
            return row.open(settings, rules)
    names = ", ".join(row.name for row in ENGINES)
    raise MisuseError(f"Setting policy_engine is {settings.policy_engine!r}.", hint=f"Expected one of: {names}.")
