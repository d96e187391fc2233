"""The table of providers: who can answer questions, and everything that is said of one outside its own module.

A new provider is one module and one row here; a default model is named in `agent/models.toml`, since users may change
it. The table stands below the settings, which take its names, and imports no SDK.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from workbench.events import Record


class ProviderRow(Record, frozen=True, kw_only=True):
    """One provider."""

    name: str
    """What the setting `provider`, `--provider` and the record call it."""
    module: str
    """Imported when the provider is chosen. A provider in this process has `build(settings)` and `status(settings)`,
    all others have `build(model, env)`. One that is chosen by an address also has `configured_url(env)` and
    `detect(env)`, and `build` takes the `base_url` that was detected."""
    place: int
    """Where it stands in the ladder; the lowest comes first."""
    chosen_by: Literal["key", "address", "default", "request"]
    """What makes the ladder choose it: a key that is set, an address that is set, nothing else, or never by itself."""
    keys: tuple[str, ...] = ()
    """Environment variables that hold its key; the first that is set counts."""
    base_urls: tuple[str, ...] = ()
    """Environment variables that move it to another address; the first that is set counts."""
    sdk: str = ""
    """The module of its SDK; empty when it needs none."""
    price_id: str = ""
    """Its id in the price list genai-prices; empty when its turns have no price."""
    telemetry_name: str = ""
    """`gen_ai.provider.name` of the OpenTelemetry conventions, where that is not `name`."""
    in_process: bool = False
    """It answers in this process, needs no key and is kept between questions."""

    def key(self, env: Mapping[str, str]) -> str:
        """The key in `env`, or empty."""
        return next((env[name] for name in self.keys if env.get(name)), "")

    def base_url(self, env: Mapping[str, str]) -> str:
        """The address that `env` names, or empty."""
        return next((env[name] for name in self.base_urls if env.get(name)), "")


PROVIDERS: dict[str, ProviderRow] = {
    row.name: row
    for row in (
        ProviderRow(
            name="openai",
            module="workbench.agent.providers.openai",
            place=10,
            chosen_by="key",
            keys=("OPENAI_API_KEY",),
            base_urls=("OPENAI_BASE_URL",),
            sdk="openai",
            price_id="openai",
        ),
        ProviderRow(
            name="anthropic",
            module="workbench.agent.providers.anthropic",
            place=20,
            chosen_by="key",
            keys=("ANTHROPIC_API_KEY",),
            base_urls=("ANTHROPIC_BASE_URL",),
            sdk="anthropic",
            price_id="anthropic",
        ),
        ProviderRow(
            name="gemini",
            module="workbench.agent.providers.gemini",
            place=30,
            chosen_by="key",
            keys=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
            base_urls=("GOOGLE_BASE_URL", "GOOGLE_GEMINI_BASE_URL"),
            sdk="google.genai",
            price_id="google",
            telemetry_name="gcp.gemini",
        ),
        ProviderRow(
            name="compatible",
            module="workbench.agent.providers.compatible",
            place=40,
            chosen_by="address",
            keys=("COMPATIBLE_API_KEY",),
            base_urls=("COMPATIBLE_BASE_URL",),
            sdk="openai",
        ),
        ProviderRow(name="planner", module="workbench.agent.planner", place=50, chosen_by="default", in_process=True),
        ProviderRow(name="embedded", module="workbench.agent.embedded", place=60, chosen_by="request", in_process=True),
    )
}


def ladder() -> list[ProviderRow]:
    """Every provider in the order in which they are considered."""
    return sorted(PROVIDERS.values(), key=lambda row: row.place)


def provider_names() -> list[str]:
    """The names in the order of the ladder."""
    return [row.name for row in ladder()]


def key_variables() -> frozenset[str]:
    """Every environment variable that holds the key of a provider."""
    return frozenset(name for row in PROVIDERS.values() for name in row.keys)


def telemetry_name(provider: str) -> str:
    """What the OpenTelemetry conventions call a provider; one that has no row keeps its name."""
    row = PROVIDERS.get(provider)
    return row.telemetry_name or row.name if row else provider
