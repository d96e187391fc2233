"""Who answers: an explicit choice, else the first rung of a ladder that is ready. The rung and why are always said.

The ladder: a provider with a key (openai, anthropic, gemini, in that order), then an OpenAI-compatible server whose
address is configured, then the embedded language model when it has been pulled, then the planner, which is no language
model and needs nothing. A local server that merely runs is offered when it is found, and used only when asked for.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.agent.env_file import read_env_file
from workbench.agent.models import model_of, provider_of
from workbench.agent.provider import Closable, Provider, ProviderStatus
from workbench.config import Settings
from workbench.events import Misuse, Record
from workbench.secrets import NoSecret, Secrets
from workbench.secrets.masking import remember_all

if TYPE_CHECKING:
    from workbench.agent.providers.compatible import Found

KEYS: dict[str, tuple[str, ...]] = {
    "openai": ("OPENAI_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY",),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
}
"""Variables that hold the key of a remote provider; the first that is set counts."""

KEY_VARIABLES = frozenset({*(name for names in KEYS.values() for name in names), "COMPATIBLE_API_KEY"})
"""Everything that is taken from a `.env` file in the working folder."""

ADDRESS = "COMPATIBLE_BASE_URL"
"""Names an OpenAI-compatible server; whoever sets it means it."""

SDKS = {"openai": "openai", "anthropic": "anthropic", "gemini": "google.genai", "compatible": "openai"}

NAMES = ("openai", "anthropic", "gemini", "compatible", "planner", "embedded")


class Choice(Record, frozen=True, kw_only=True):
    """A provider, and why it is the one."""

    provider: Provider
    why: str
    close_after: bool = False
    """Whether it was made for this run alone."""


class Chooser:
    """Goes down the ladder. Providers in this process are kept: loading a model takes seconds.

    Args:
        env: where keys are read from; None means the process's environment, read anew each time.
    """

    def __init__(self, settings: Settings, *, env: Mapping[str, str] | None = None) -> None:
        self._settings = settings
        self._given = env
        self.env_file = read_env_file(Path.cwd(), KEY_VARIABLES) if env is None else None
        if self.env_file is not None:
            remember_all(self.env_file.keys, ())
        self._kept: dict[str, Provider] = {}
        self._found: Found | None = None

    async def detect(self) -> None:
        """Look for a local server; what is found is offered from then on."""
        from workbench.agent.providers import compatible

        self._found = await compatible.detect(self._env)

    @property
    def _env(self) -> Mapping[str, str]:
        if self._given is not None:
            return self._given
        return Secrets.of(self._settings).environment(self.env_file.keys if self.env_file else {})

    def statuses(self) -> list[ProviderStatus]:
        """Every provider and whether it is ready, in the order of the ladder; asks no network."""
        found = [self.status(name) for name in NAMES]
        if not self._env.get(ADDRESS):  # it is no rung then
            found.sort(key=lambda status: status.name == "compatible")
        return found

    def status(self, name: str) -> ProviderStatus:
        """Whether provider `name` could answer now."""
        if name in ("embedded", "planner"):
            found: ProviderStatus = _room(name).status(self._settings)
            return found
        model = model_of(name, self._settings, self._env)
        if not _installed(SDKS[name]):
            why = f"The package {SDKS[name]} is not installed."
            return ProviderStatus(name=name, ready=False, model=model, why=why)
        if name == "compatible":
            from workbench.agent.providers.compatible import configured_url

            if url := configured_url(self._env):
                why = f"configured: {url}"
            elif self._found:
                url = self._found.base_url
                why = f"{self._found.kind} answers at {url}; it is used only when it is asked for"
            else:
                why = "No local server is known. Start one, or set COMPATIBLE_BASE_URL to its address (with /v1)."
            return ProviderStatus(name=name, ready=bool(url), model=model, why=why)
        try:
            variable = next((key for key in KEYS[name] if self._env.get(key)), "")
        except NoSecret as e:
            return ProviderStatus(name=name, ready=False, model=model, why=str(e))
        where = f" in {self.env_file.path}" if self._from_env_file(variable) and self.env_file else ""
        why = f"{variable} is set{where}" if variable else f"{' or '.join(KEYS[name])} is not set."
        return ProviderStatus(name=name, ready=bool(variable), model=model, why=why)

    def _from_env_file(self, variable: str) -> bool:
        return self.env_file is not None and variable in self.env_file.keys and variable not in os.environ

    async def choose(self, provider: str | None = None, model: str | None = None) -> Choice:
        """The provider for one run.

        Args:
            provider: an explicit choice, which is never replaced by another rung; None takes the setting.
            model: None takes the setting or the default.

        Raises:
            Misuse: no provider of that name.
        """
        name = provider or self._settings.provider
        if name not in ("auto", *NAMES):
            close = difflib.get_close_matches(name, NAMES, 1)
            hint = f"Did you mean {close[0]!r}?" if close else f"Expected auto, {', '.join(NAMES)}."
            raise Misuse(f"There is no provider {name!r}.", hint=hint)
        if name != "auto":
            source = (
                "asked for" if provider else f"chosen by the setting provider ({self._settings.source_of('provider')})"
            )
            if name == "compatible" and not self.status(name).ready:
                await self.detect()
            return self._build(name, model, source)
        wanted = model or self._settings.model
        if wanted and (meant := provider_of(wanted, self._settings)):
            return self._build(meant, wanted, f"the model {wanted} is of {meant}")
        for rung in ("openai", "anthropic", "gemini"):
            if (status := self.status(rung)).ready:
                return self._build(rung, model, status.why)
        if self._env.get(ADDRESS):
            return self._build("compatible", model, f"{ADDRESS} is set")
        if wanted:
            raise Misuse(
                f"The model {wanted!r} is of no provider that is ready here.",
                hint="Name its provider too, e.g. --provider compatible; `workbench model` lists who is ready.",
            )
        # Measured on the benchmark questions, the planner is right more often than the small model, and a hundred times
        # faster; so the model answers when it is asked for, and never by itself.
        why = "no key is set: planner (not an LLM)"
        if self.status("embedded").ready:
            why += "; the embedded model answers when it is asked for"
        return self._build("planner", None, why)

    def _build(self, name: str, model: str | None, why: str) -> Choice:
        if name in ("embedded", "planner"):
            if name not in self._kept:
                self._kept[name] = _room(name).build(self._settings)
            return Choice(provider=self._kept[name], why=why)
        if name == "compatible":
            from workbench.agent.providers import compatible

            wanted = model_of(name, self._settings, self._env, asked=model)
            base_url = self._found.base_url if self._found else ""
            return Choice(provider=compatible.build(wanted, self._env, base_url=base_url), why=why, close_after=True)
        adapter = importlib.import_module(f"workbench.agent.providers.{name}")
        wanted = model_of(name, self._settings, self._env, asked=model)
        return Choice(provider=adapter.build(wanted, self._env), why=why, close_after=True)

    async def close(self) -> None:
        """Let go of the providers that were kept."""
        for provider in self._kept.values():
            if isinstance(provider, Closable):
                await provider.close()
        self._kept.clear()


def _room(name: str) -> Any:
    """The package that holds a provider of this process: `build(settings)` and `status(settings)`."""
    return importlib.import_module(f"workbench.agent.{name}")


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
