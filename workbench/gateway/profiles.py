"""The profiles in force: read from disk, read again when the file changes, and never half of a broken file."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from workbench.config import Settings
from workbench.events import JSON, Call, Caller, MisuseError, Outcome, Tool
from workbench.gateway.profile_file import Profile, ProfileFile, read_profiles
from workbench.suggestions import close_names

if TYPE_CHECKING:
    from workbench.gateway.call import Gateway
    from workbench.registry import Registry

FILE: Final = "profiles.toml"

CHECK_INTERVAL_S: Final = 1.0
"""Seconds between two looks at the file."""


def place_of(settings: Settings) -> Path | None:
    """The file of profiles; None when there is none."""
    if settings.profiles is not None:
        return settings.profiles
    return next((path for path in (Path.cwd() / FILE, settings.home / FILE) if path.is_file()), None)


class Profiles:
    """Named selections of servers and tools, each with an endpoint of its own.

    They are in the file that the setting `profiles` names, else in `profiles.toml` in the working directory or in the
    state folder. A file that cannot be meant stops a start; later, the profiles that were in force stay, and `broken`
    says why.

    Args:
        settings: where the file is.
        registry: which servers and tools there are.
        clock: seconds that only grow.

    Raises:
        MisuseError: the file cannot be meant.
    """

    def __init__(self, settings: Settings, registry: Registry, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.broken = ""
        """Why the file, as it is now, is not in force."""
        self.revision = 1
        """Grows with every change."""
        self.on_change: list[Callable[[], None]] = []
        """Called when other profiles are in force, or the file has been broken since the last look."""
        self._settings = settings
        self._registry = registry
        self._clock = clock
        self._looked = clock()
        self._mark = self._fingerprint()
        self._file = self._read()

    def find(self, name: str) -> Profile | None:
        """The profile of that name."""
        self._look()
        return self._file.profiles.get(name)

    def named(self, name: str) -> Profile:
        """The profile of that name.

        Raises:
            MisuseError: there is none; with the one that was probably meant.
        """
        found = self.find(name)
        if found is None:
            close = close_names(name, self._file.profiles, 1)
            hint = f"Did you mean {close[0]!r}?" if close else "See `workbench profiles`."
            raise MisuseError(f"There is no profile {name[:100]!r}.", hint=hint)
        return found

    def all(self) -> list[Profile]:
        """Every profile, in the order of the file."""
        self._look()
        return list(self._file.profiles.values())

    @property
    def path(self) -> Path:
        """The file that is in force, or that would be."""
        return self._file.path

    def problems(self) -> list[str]:
        """What is wrong with the file, in sentences: why it is not in force, and names that nothing has."""
        self._look()
        registry = self._registry
        ready = {state.id: state.status == "ready" for state in registry.servers()}
        tools: dict[str, list[str] | None] = {id: [] if is_ready else None for id, is_ready in ready.items()}
        for tool in registry.tools():
            names = tools.get(tool.server)
            if names is not None:
                names.append(tool.qualified)
        return [*([self.broken] if self.broken else ()), *self._file.problems(tools)]

    def described(self, profile: Profile, tools: list[Tool]) -> JSON:
        """A profile as a caller is told of it.

        Args:
            profile: one of them.
            tools: those of it that the caller may call.
        """
        return {
            "name": profile.name,
            "title": profile.title or profile.name,
            "description": profile.description,
            "instructions": profile.instructions,
            "path": f"/profiles/{profile.name}/mcp",
            "tools": [tool.qualified for tool in tools],
        }

    # --- the file

    def _look(self) -> None:
        now = self._clock()
        if now - self._looked < CHECK_INTERVAL_S:
            return
        self._looked = now
        mark = self._fingerprint()
        if mark == self._mark:
            return
        self._mark = mark
        try:
            self._file, self.broken = self._read(), ""
        except MisuseError as e:
            self.broken = f"{e} The profiles that were read before stay in force."
        self.revision += 1
        for told in self.on_change:
            told()

    def _read(self) -> ProfileFile:
        path = place_of(self._settings)
        return ProfileFile(self._settings.home / FILE, "", {}) if path is None else read_profiles(path)

    def _fingerprint(self) -> object:
        path = place_of(self._settings)
        try:
            return None if path is None else (path, (found := path.stat()).st_mtime_ns, found.st_size, found.st_ino)
        except OSError:
            return None


class ProfileGateway:
    """The gateway as it is through one profile, for an agent: no other tools can be found or called.

    Args:
        gateway: that runs the calls.
        profile: name of the profile.
    """

    def __init__(self, gateway: Gateway, profile: str) -> None:
        self._gateway = gateway
        self._profile = profile

    async def call(self, call: Call) -> Outcome:
        """Run a call under the profile's name."""
        return await self._gateway.call(msgspec.structs.replace(call, profile=self._profile))

    def tools(self, caller: Caller) -> list[Tool]:
        """The tools of the profile that `caller` may call."""
        return self._gateway.tools(caller, self._profile)

    def search(self, caller: Caller, query: str, limit: int = 20) -> list[tuple[Tool, float]]:
        """Of those the nearest to `query`, best first, with a score."""
        return self._gateway.search(caller, query, limit, self._profile)
