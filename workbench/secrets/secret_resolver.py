"""The one seam through which secrets are had: references in, values out, remembered for a while and read anew."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

from workbench.config import Settings
from workbench.events import MisuseError, Record
from workbench.secrets.masking import hide_in_logs, remember, remember_all
from workbench.secrets.reference import PREFIX, SOURCES, SecretReference, SourceName, filled, is_reference, references
from workbench.secrets.sources import EnvironmentSource, FolderSource, SecretNotFoundError, SecretSource

FAILURE_PAUSE_S: Final = 5.0
"""Least seconds between two attempts to read a secret whose source does not answer."""
SUPPLIED: Final = "given"
"""The source of what a person gave when they were asked."""
RENEWAL_PAUSE_S: Final = 10.0
"""Least seconds between two readings of one secret because somebody refused its value."""


class SecretOrigin(Record, frozen=True, kw_only=True):
    """Where a secret comes from; never its value."""

    reference: str
    source: str
    """`env`, `file` or `aws`; `given` by a person who was asked; empty when it cannot be had."""
    age_s: float
    """Seconds since it was last read."""
    problem: str
    """Why it could not be read the last time; empty when it was."""


class _CachedSecret:
    """What is remembered of one secret."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.value: str | None = None
        self.source = ""
        self.read_at = self.tried_at = self.renewed_at = float("-inf")
        self.problem = ""
        self.refreshing = False


class SecretResolver:
    """Reads secrets by reference, each once for as long as `secrets_ttl` says.

    A source that does not answer leaves the last value good until `secrets_stale`; then nothing is given out. A source
    that is asked for by name, or comes earlier in the settings and does not answer, is never passed over for another.

    Args:
        settings: `secrets`, `secrets_folder`, `secrets_ttl`, `secrets_stale`.
        env: environment to read instead of the process's.
        ticks: seconds that only grow.
        sources: instead of those of the settings.
    """

    _shared: ClassVar[dict[tuple[Any, ...], SecretResolver]] = {}
    _sharing: ClassVar[threading.Lock] = threading.Lock()

    def __init__(
        self,
        settings: Settings,
        *,
        env: Mapping[str, str] | None = None,
        ticks: Callable[[], float] = time.monotonic,
        sources: Mapping[str, SecretSource] | None = None,
    ) -> None:
        check_sources(settings.secrets)
        self._order: tuple[str, ...] = settings.secrets
        self._folder = secrets_folder(settings)
        self._fresh, self._stale = settings.secrets_ttl, settings.secrets_stale
        self._env = env
        self._ticks = ticks
        self._sources: dict[str, SecretSource] = dict(sources or {})
        self._opening = threading.Lock()
        self._kept: dict[SecretReference, _CachedSecret] = {}

    @classmethod
    def of(cls, settings: Settings) -> SecretResolver:
        """The secrets of this process under these settings: all rooms share what was read."""
        key = (settings.secrets, secrets_folder(settings), settings.secrets_ttl, settings.secrets_stale)
        with cls._sharing:
            if key not in cls._shared:
                cls._shared[key] = cls(settings)
            return cls._shared[key]

    # --- reading

    def read(self, text: str) -> str:
        """`text` with values in place of references. Waits only where nothing is known yet; else reads on behind.

        Raises:
            SecretNotFoundError: one of them cannot be had.
            MisuseError: a reference is malformed.
        """
        if not is_reference(text):
            return text
        return filled(text, {reference: self._value(reference) for reference in references(text)})

    async def fetch(self, text: str) -> str:
        """As `read`, without keeping the event loop; what is older than `secrets_ttl` is read anew before."""
        if not is_reference(text):
            return text
        wanted = references(text)
        if any(self._age(reference) >= self._fresh for reference in wanted):
            await asyncio.to_thread(self._refresh_all, wanted)
        return self._filled(text, wanted)

    def fresh(self, texts: Iterable[str]) -> bool:
        """Whether every secret in `texts` is known and younger than `secrets_ttl`."""
        return all(self._age(reference) < self._fresh for text in texts for reference in references(text))

    async def fill(self, values: Mapping[str, str]) -> dict[str, str]:
        """`values` with references resolved."""
        return {name: await self.fetch(value) for name, value in values.items()}

    async def prepare(self, settings: Settings) -> None:
        """Hide the secrets of this process wherever it tells something, and read those that its environment names."""
        env = os.environ if self._env is None else self._env
        urls = (settings.database_url, settings.redis_url, settings.cache_url, settings.opa_url, settings.audit_witness)
        remember_all(env, urls)
        hide_in_logs()
        named = [value for value in env.values() if value.startswith(PREFIX)]
        if named:
            await asyncio.to_thread(self.where, named)

    async def renew(self, text: str, refused: str) -> str | None:
        """Another value than the one that was refused, where a source has one: the current, else the pending version.

        Each secret is read anew for this at most every ten seconds.

        Args:
            text: with references.
            refused: what `text` resolved to, and was not accepted.

        Raises:
            SecretNotFoundError: there is no such secret any more.
        """
        wanted = references(text)
        if (found := self._filled(text, wanted)) != refused:
            return found  # somebody else was refused before, and it has been read anew already
        await asyncio.to_thread(self._renew_all, wanted)
        return found if (found := self._filled(text, wanted)) != refused else None

    def environment(self, defaults: Mapping[str, str] | None = None) -> Mapping[str, str]:
        """The process's environment; a variable whose value is a reference has the value of that secret.

        Args:
            defaults: further variables, which the environment overrides.
        """
        env = os.environ if self._env is None else self._env
        return _Resolved(self, {**defaults, **env} if defaults else env)

    def where(self, wanted: Sequence[str] = ()) -> list[SecretOrigin]:
        """Where each secret that was asked for, and each in `wanted`, comes from; reads those not known yet."""
        for text in wanted:
            self._refresh_all(references(text))
        return [
            SecretOrigin(
                reference=str(reference), source=kept.source if kept.value is not None else "",
                age_s=max(0.0, self._ticks() - kept.read_at) if kept.value is not None else 0.0, problem=kept.problem,
            )
            for reference, kept in sorted(self._kept.items(), key=lambda item: str(item[0]))
        ]  # fmt: skip

    def supply(self, name: str, value: str, *, hidden: bool = True) -> None:
        """Take `value` as the secret of that name for as long as this process lives: a person was asked for it.

        Args:
            name: of the secret, without its source.
            value: what they gave.
            hidden: whether it is taken out of what is shown.

        Raises:
            MisuseError: no secret can have that name.
        """
        kept = self._kept.setdefault(SecretReference.parse(name), _CachedSecret())
        with kept.lock:
            kept.value, kept.source, kept.problem = value, SUPPLIED, ""
            kept.read_at = kept.tried_at = float("inf")
        if hidden:
            remember(value)

    # --- what is kept

    def _value(self, reference: SecretReference) -> str:
        age = self._age(reference)
        kept = self._kept.get(reference)
        if kept is None or age >= self._stale:
            self._refresh(reference, self._fresh)
        elif age >= self._fresh and not kept.refreshing:
            kept.refreshing = True
            threading.Thread(target=self._refresh_behind, args=(reference, kept), daemon=True).start()
        return self._good(reference)

    def _good(self, reference: SecretReference) -> str:
        """The value, unless nobody has vouched for it for too long."""
        kept = self._kept[reference]
        value = kept.value
        if value is None or self._ticks() - kept.read_at >= self._stale:
            raise SecretNotFoundError(
                kept.problem or f"The secret {str(reference)!r} cannot be had.", hint=_hint(reference)
            )
        return value

    def _age(self, reference: SecretReference) -> float:
        kept = self._kept.get(reference)
        return float("inf") if kept is None else self._ticks() - kept.read_at

    def _refresh_behind(self, reference: SecretReference, kept: _CachedSecret) -> None:
        try:
            self._refresh(reference, self._fresh)
        finally:
            kept.refreshing = False

    def _refresh_all(self, wanted: Sequence[SecretReference]) -> None:
        for reference in wanted:
            self._refresh(reference, self._fresh)

    def _renew_all(self, wanted: Sequence[SecretReference]) -> None:
        for reference in wanted:
            self._renew(reference)

    def _refresh(self, reference: SecretReference, older: float) -> None:
        """Read a secret that is older than so many seconds, once for all who want it."""
        kept = self._kept.setdefault(reference, _CachedSecret())
        with kept.lock:
            now = self._ticks()
            if now - kept.read_at < older or now - kept.tried_at < FAILURE_PAUSE_S:
                return
            self._read(reference, kept, pending=False)

    def _renew(self, reference: SecretReference) -> None:
        kept = self._kept.setdefault(reference, _CachedSecret())
        with kept.lock:
            before, now = kept.value, self._ticks()
            if now - kept.renewed_at < RENEWAL_PAUSE_S:
                return
            kept.renewed_at = now
            self._read(reference, kept, pending=False)
            if kept.value == before:
                self._read(reference, kept, pending=True)

    def _filled(self, text: str, wanted: Sequence[SecretReference]) -> str:
        return filled(text, {reference: self._good(reference) for reference in wanted})

    def _read(self, reference: SecretReference, kept: _CachedSecret, *, pending: bool) -> None:
        if kept.source == SUPPLIED:
            return  # nobody else knows another
        kept.tried_at = self._ticks()
        try:
            found = self._ask(reference, pending=pending)
        except (SecretNotFoundError, MisuseError) as e:
            kept.problem = f"The secret {str(reference)!r} cannot be had. {e}"
            return
        if found is None:
            if not pending:
                kept.value, kept.problem = (
                    None,
                    f"The secret {str(reference)!r} is in none of {self._where(reference)}.",
                )
            return
        kept.source, kept.value = found
        kept.read_at, kept.problem = self._ticks(), ""
        remember(kept.value)

    def _ask(self, reference: SecretReference, *, pending: bool) -> tuple[str, str] | None:
        if pending:  # the value that follows is where the one in force is, and not another's of the same name
            kept = self._kept[reference].source
            order: tuple[str, ...] = (kept,) if kept else ()
        else:
            order = (reference.source,) if reference.source else self._order
        for name in order:
            source = self._source(name)
            if pending:
                value = source.pending(reference.name)
            else:
                found = source.read(reference.name)
                value = found[0] if found else None
            if value is not None:
                remember(value)
                return name, _field(value, reference)
        return None

    def _source(self, name: str) -> SecretSource:
        with self._opening:
            if name not in self._sources:
                if name == "env":
                    self._sources[name] = EnvironmentSource(self._env)
                elif name == "file":
                    self._sources[name] = FolderSource(self._folder)
                else:
                    from workbench.secrets.aws import SecretsManager

                    self._sources[name] = SecretsManager()
            return self._sources[name]

    def _where(self, reference: SecretReference) -> str:
        return reference.source or ", ".join(self._order) or "no source at all"


class _Resolved(Mapping[str, str]):
    """An environment whose references are resolved when they are looked at."""

    def __init__(self, secrets: SecretResolver, env: Mapping[str, str]) -> None:
        self._secrets, self._env = secrets, env

    def __getitem__(self, name: str) -> str:
        return self._secrets.read(self._env[name])

    def __contains__(self, name: object) -> bool:
        return name in self._env

    def __iter__(self) -> Iterator[str]:
        return iter(self._env)

    def __len__(self) -> int:
        return len(self._env)


def secrets_folder(settings: Settings) -> Path:
    """The folder of the source `file`."""
    return settings.secrets_folder or settings.home / "secrets"


def check_sources(names: Sequence[str]) -> None:
    """Raises Misuse when the setting `secrets` names a source that there is not."""
    for name in names:
        if name not in SOURCES:
            raise MisuseError(f"Setting secrets names {name!r}.", hint=f"Sources are {', '.join(SOURCES)}.")


def _field(value: str, reference: SecretReference) -> str:
    if not reference.field:
        return value
    try:
        found = json.loads(value)[reference.field]
    except (ValueError, TypeError, KeyError, IndexError):
        found = None
    if not isinstance(found, str | int) or isinstance(found, bool) or found == "":
        raise SecretNotFoundError(f"It holds no JSON object with the text {reference.field!r}.")
    return str(found)


def _hint(reference: SecretReference) -> str:
    where: dict[SourceName | None, str] = {
        "env": f"Set the variable {reference.name}.", "file": "Put it into the secrets folder, mode 0600.",
        "aws": "Look at its name, region and the rights of this process.",
    }  # fmt: skip
    return where.get(reference.source, "`workbench doctor` says where each secret is looked for.")
