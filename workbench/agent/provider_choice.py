"""Who answers: an explicit choice, else the first rung of a ladder that is ready. The rung and why are always said.

The ladder is `workbench.provider_table`: a provider with a key, then an OpenAI-compatible server whose address is
configured, then the planner, which is no language model and needs nothing. The embedded language model, and a local
server that merely runs, are offered when they are found, and used only when they are asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path

from workbench.agent.env_file import read_env_file
from workbench.agent.models import model_of, provider_of
from workbench.agent.provider import Closable, DetectedServer, Provider, ProviderStatus
from workbench.config import Settings
from workbench.events import MisuseError, Record
from workbench.provider_table import PROVIDERS, key_variables, ladder, provider_names
from workbench.secrets import SecretNotFoundError, SecretResolver
from workbench.secrets.masking import remember_all
from workbench.suggestions import close_names


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
        self.env_file = read_env_file(Path.cwd(), key_variables()) if env is None else None
        if self.env_file is not None:
            remember_all(self.env_file.keys, ())
        self._kept: dict[str, Provider] = {}
        self._found: dict[str, DetectedServer] = {}

    async def detect(self) -> None:
        """Look for local servers; what is found is offered from then on."""
        for row in ladder():
            if row.chosen_by == "address":
                found: DetectedServer | None = await importlib.import_module(row.module).detect(self._env)
                if found is None:
                    self._found.pop(row.name, None)
                else:
                    self._found[row.name] = found

    @property
    def _env(self) -> Mapping[str, str]:
        if self._given is not None:
            return self._given
        return SecretResolver.of(self._settings).environment(self.env_file.keys if self.env_file else {})

    def statuses(self) -> list[ProviderStatus]:
        """Every provider and whether it is ready, in the order of the ladder; asks no network."""
        rows = ladder()
        env = self._env
        rows.sort(key=lambda row: row.chosen_by == "address" and not row.base_url(env))  # it is no rung then
        return [self.status(row.name) for row in rows]

    def status(self, name: str) -> ProviderStatus:
        """Whether provider `name` could answer now."""
        row = PROVIDERS[name]
        if row.in_process:
            found: ProviderStatus = importlib.import_module(row.module).status(self._settings)
            return found
        model = model_of(name, self._settings, self._env)
        if row.sdk and not _installed(row.sdk):
            why = f"The package {row.sdk} is not installed."
            return ProviderStatus(name=name, ready=False, model=model, why=why)
        if row.chosen_by == "address":
            if url := importlib.import_module(row.module).configured_url(self._env):
                why = f"configured: {url}"
            elif server := self._found.get(name):
                url = server.base_url
                why = f"{server.kind} answers at {url}; it is used only when it is asked for"
            else:
                why = f"No local server is known. Start one, or set {row.base_urls[0]} to its address (with /v1)."
            return ProviderStatus(name=name, ready=bool(url), model=model, why=why)
        try:
            variable = next((key for key in row.keys if self._env.get(key)), "")
        except SecretNotFoundError as e:
            return ProviderStatus(name=name, ready=False, model=model, why=str(e))
        where = f" in {self.env_file.path}" if self._from_env_file(variable) and self.env_file else ""
        why = f"{variable} is set{where}" if variable else f"{' or '.join(row.keys)} is not set."
        return ProviderStatus(name=name, ready=bool(variable), model=model, why=why)

    def _from_env_file(self, variable: str) -> bool:
        return self.env_file is not None and variable in self.env_file.keys and variable not in os.environ

    async def choose(self, provider: str | None = None, model: str | None = None) -> Choice:
        """The provider for one run.

        Args:
            provider: an explicit choice, which is never replaced by another rung; None takes the setting.
            model: None takes the setting or the default.

        Raises:
            MisuseError: no provider of that name.
        """
        name = provider or self._settings.provider
        if name != "auto" and name not in PROVIDERS:
            close = close_names(name, provider_names(), 1)
            hint = f"Did you mean {close[0]!r}?" if close else f"Expected auto, {', '.join(provider_names())}."
            raise MisuseError(f"There is no provider {name!r}.", hint=hint)
        if name != "auto":
            source = (
                "asked for" if provider else f"chosen by the setting provider ({self._settings.source_of('provider')})"
            )
            if PROVIDERS[name].chosen_by == "address" and not self.status(name).ready:
                await self.detect()
            return self._build(name, model, source)
        wanted = model or self._settings.model
        if wanted and (meant := provider_of(wanted, self._settings)):
            return self._build(meant, wanted, f"the model {wanted} is of {meant}")
        for row in ladder():
            if row.chosen_by == "key" and (status := self.status(row.name)).ready:
                return self._build(row.name, model, status.why)
            if row.chosen_by == "address" and row.base_url(self._env):
                variable = next(name for name in row.base_urls if self._env.get(name))
                return self._build(row.name, model, f"{variable} is set")
            if row.chosen_by == "default":
                break
        if wanted:
            raise MisuseError(
                f"The model {wanted!r} is of no provider that is ready here.",
                hint="Name its provider too, e.g. --provider compatible; `workbench model` lists who is ready.",
            )
        # Measured on the benchmark questions, the planner is right more often than the small model, and a hundred times
        # faster; so the model answers when it is asked for, and never by itself.
        why = f"no key is set: {row.name} (not an LLM)"
        for other in ladder():
            if other.chosen_by == "request" and self.status(other.name).ready:
                why += f"; the {other.name} model answers when it is asked for"
        return self._build(row.name, None, why)

    def _build(self, name: str, model: str | None, why: str) -> Choice:
        row = PROVIDERS[name]
        if row.in_process:
            if name not in self._kept:
                self._kept[name] = importlib.import_module(row.module).build(self._settings)
            return Choice(provider=self._kept[name], why=why)
        adapter = importlib.import_module(row.module)
        wanted = model_of(name, self._settings, self._env, asked=model)
        detected = {"base_url": self._found[name].base_url} if name in self._found else {}
        return Choice(provider=adapter.build(wanted, self._env, **detected), why=why, close_after=True)

    async def close(self) -> None:
        """Let go of the providers that were kept."""
        for provider in self._kept.values():
            if isinstance(provider, Closable):
                await provider.close()
        self._kept.clear()


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
