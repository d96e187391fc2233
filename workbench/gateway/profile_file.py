"""Reads `profiles.toml`: named selections of servers and tools, each with an endpoint of its own."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from fnmatch import translate
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NoReturn

import msgspec

from workbench.display_text import hidden_character
from workbench.events import MisuseError, Record, Tool
from workbench.registry.definitions.name_checks import confusable
from workbench.suggestions import close_names

MAX_BYTES: Final = 1 << 20
MAX_PATTERNS: Final = 1000

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,47}")
_KEYS: Final = ("title", "description", "instructions", "servers", "tools", "without", "override")
_OVERRIDES: Final = ("title", "description")
_GLOB = re.compile(r"[*?\[]")


class ToolOverride(Record, frozen=True, kw_only=True):
    """What a profile says of a tool instead of its server; None leaves the server's own words."""

    title: str | None = None
    description: str | None = None


class Profile(Record, frozen=True, kw_only=True):
    """A selection of servers and tools. Patterns are those of the shell: `*`, `?`, `[ab]`."""

    name: str
    title: str = ""
    description: str = ""
    instructions: str = ""
    """What clients are told on how to use it; empty tells them what its servers say."""
    servers: tuple[str, ...] = ()
    """Servers whose prompts, resources and own methods belong to it, and all tools unless `tools` names some."""
    tools: tuple[str, ...] = ()
    """`server.tool`: exactly these tools, of whichever server."""
    without: tuple[str, ...] = ()
    """`server.tool`: not these."""
    override: dict[str, ToolOverride] = msgspec.field(default_factory=dict)

    def has(self, qualified: str) -> bool:
        """Whether a tool belongs to it."""
        if self.without and _matches(self.without, qualified):
            return False
        return _matches(self.tools, qualified) if self.tools else self.offers(qualified.partition(".")[0])

    def offers(self, server: str) -> bool:
        """Whether what a server has beside tools belongs to it: prompts, resources, completions, own methods."""
        return _matches(self.servers, server)

    def includes(self, server: str) -> bool:
        """Whether anything of a server can belong to it."""
        return self.offers(server) or _matches(tuple(server_part(tool) for tool in self.tools), server)

    def shown(self, tool: Tool) -> Tool:
        """`tool` as the profile presents it. What it does, takes and needs stays its server's."""
        override = self.override.get(tool.qualified)
        if override is None:
            return tool
        changes = {name: text for name in _OVERRIDES if (text := getattr(override, name)) is not None}
        return msgspec.structs.replace(tool, definition={**tool.definition, **changes}, **changes)


def server_part(pattern: str) -> str:
    """Of `server.tool`, the server."""
    return pattern.partition(".")[0]


def is_glob(pattern: str) -> bool:
    """Whether it is a pattern rather than a name."""
    return _GLOB.search(pattern) is not None


def matching(pattern: str, names: Iterable[str]) -> list[str]:
    """Those of `names` that a pattern means."""
    return [name for name in names if _matches((pattern,), name)]


def _matches(patterns: tuple[str, ...], name: str) -> bool:
    return bool(patterns) and _compiled(patterns).match(name) is not None


@lru_cache(1024)
def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(translate(pattern) for pattern in patterns))


def read_profiles(path: Path) -> ProfileFile:
    """The profiles in a file.

    Raises:
        MisuseError: it cannot be read or cannot be meant; names the file, the line, and what was expected.
    """
    return _Reader(path).read()


class ProfileFile:
    """What a file says, and where it says it.

    Args:
        path: the file.
        text: what is in it.
        profiles: by name, in the order of the file.
    """

    def __init__(self, path: Path, text: str, profiles: Mapping[str, Profile]) -> None:
        self.path = path
        self.profiles = dict(profiles)
        self._text = text

    def problems(self, tools: Mapping[str, Collection[str] | None]) -> list[str]:
        """Names of servers and tools that do not exist, each with its line and what was probably meant.

        Args:
            tools: server → its qualified tools, or None while nobody can tell.
        """
        return [problem for profile in self.profiles.values() for problem in self._problems(profile, tools)]

    def _problems(self, profile: Profile, tools: Mapping[str, Collection[str] | None]) -> Iterable[str]:
        for pattern in profile.servers:
            if not matching(pattern, tools):
                yield self._unknown(profile.name, "server", pattern, tools)
        known = [name for names in tools.values() for name in names or ()]
        for pattern in (*profile.tools, *profile.without, *profile.override):
            of = server_part(pattern)
            servers = matching(of, tools)
            if not servers:
                yield self._unknown(profile.name, "server", of, tools, pattern)
            elif not matching(pattern, known) and all(tools[server] is not None for server in servers):
                yield self._unknown(profile.name, "tool", pattern, known)
        for name in profile.override:
            if name in known and not profile.has(name):
                yield f"{self._at(profile.name, name)}: the profile has no {name!r}, so its override has no effect."

    def _unknown(self, profile: str, kind: str, name: str, known: Iterable[str], written: str = "") -> str:
        if is_glob(name):
            return f"{self._at(profile, written or name)}: no {kind} matches {name!r}."
        close = close_names(name, known, 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        return f"{self._at(profile, written or name)}: there is no {kind} {name!r}.{hint}"

    def _at(self, profile: str, needle: str) -> str:
        return f"{self.path}, line {line_of(self._text, profile, needle)}, profile {profile!r}"


_HEADER = re.compile(r"""\s*\[\s*(?:"([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+))""")


def line_of(text: str, profile: str, needle: str) -> int:
    """The line, from 1, on which a table of a TOML file first has `needle`, or on which the table begins.

    `tomllib` says no lines; this looks for the words, which is enough to point at them.
    """
    begins, current = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        if (header := _HEADER.match(line)) is not None:
            current = header[1] or header[2] or header[3] or ""
        elif not current and re.match(rf"""\s*["']?{re.escape(profile)}\b""", line):
            begins = begins or number
        if current == profile:
            begins = begins or number
            if re.search(rf"(?<![\w.*-]){re.escape(needle)}(?![\w*-])", line):
                return number
    return begins or 1


class _Reader:
    """One reading of one file: knows where it is, so that every refusal can say so."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._text = ""

    def read(self) -> ProfileFile:
        found = self._parse()
        profiles: dict[str, Profile] = {}
        for name, table in found.items():
            if not _NAME.fullmatch(name):
                self._refuse(name, name, f"{name!r} cannot be the name of a profile", "Use 1 to 48 of a-z 0-9 - _.")
            if like := confusable(name, profiles):
                self._refuse(name, name, f"the name can be taken for {like!r}", "Give the profile another name.")
            if not isinstance(table, dict):
                self._refuse(name, name, f"{name!r} is no table", f"Expected [{name}] with servers or tools.")
            profiles[name] = self._profile(name, table)
        return ProfileFile(self._path, self._text, profiles)

    def _parse(self) -> dict[str, Any]:
        try:
            if self._path.stat().st_size > MAX_BYTES:
                raise MisuseError(
                    f"{self._path} is larger than {MAX_BYTES} bytes.", hint="Is it really a profiles.toml?"
                )
            self._text = self._path.read_text(encoding="utf-8")
            return tomllib.loads(self._text)
        except OSError as e:
            raise MisuseError(
                f"{self._path} cannot be read: {e.strerror or e}.", hint="Check the setting profiles."
            ) from e
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
            raise MisuseError(f"{self._path} is not valid TOML: {e}.", hint="Mend the file.") from e

    def _profile(self, name: str, table: dict[str, Any]) -> Profile:
        for key in table:
            if key not in _KEYS:
                self._refuse(name, key, f"unknown key {key!r}", self._meant(key, _KEYS))
        profile = Profile(
            name=name,
            title=self._text_of(name, "title", table),
            description=self._text_of(name, "description", table),
            instructions=self._text_of(name, "instructions", table),
            servers=self._patterns(name, "servers", table),
            tools=self._patterns(name, "tools", table),
            without=self._patterns(name, "without", table),
            override=self._overrides(name, table.get("override", {})),
        )
        if not profile.servers and not profile.tools:
            self._refuse(name, name, "it names neither servers nor tools", 'Expected servers = ["crm"], for instance.')
        return profile

    def _text_of(self, name: str, key: str, table: dict[str, Any]) -> str:
        value = table.get(key, "")
        if not isinstance(value, str):
            self._refuse(name, key, f"{key} is {value!r:.100}", "Expected a text.")
        if hidden := hidden_character(value):
            self._refuse(name, key, f"{key} has the hidden character {hidden}", "Remove it.")
        return value.strip()

    def _patterns(self, name: str, key: str, table: dict[str, Any]) -> tuple[str, ...]:
        value = table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(pattern, str) and pattern for pattern in value):
            self._refuse(name, key, f"{key} is {value!r:.100}", f'Expected a list of texts: {key} = ["…"].')
        if len(value) > MAX_PATTERNS:
            self._refuse(name, key, f"{key} has {len(value)} entries", f"At most {MAX_PATTERNS}; use patterns.")
        for pattern in value:
            if key == "servers" and "." in pattern:
                self._refuse(
                    name, pattern, f"{pattern!r} is no server", f"Put it under tools, or say {server_part(pattern)!r}."
                )
            if key != "servers" and "." not in pattern:
                self._refuse(name, pattern, f"{pattern!r} is no tool", f"Expected server.tool, e.g. '{pattern}.*'.")
        return tuple(value)

    def _overrides(self, name: str, table: Any) -> dict[str, ToolOverride]:
        if not isinstance(table, dict):
            self._refuse(name, "override", "override is no table", f'Expected [{name}.override."server.tool"].')
        found = {}
        for tool, words in table.items():
            if not isinstance(words, dict) or "." not in tool or is_glob(tool):
                self._refuse(name, tool, f"{tool!r} cannot be overridden", f'Expected [{name}.override."server.tool"].')
            for key in words:
                if key not in _OVERRIDES:
                    self._refuse(name, tool, f"unknown key {key!r}", self._meant(key, _OVERRIDES))
            found[tool] = ToolOverride(**{key: self._text_of(name, key, words) for key in words})
        return found

    def _meant(self, key: str, known: tuple[str, ...]) -> str:
        close = close_names(key, known, 1)
        return f"Did you mean {close[0]!r}?" if close else f"Expected {', '.join(known)}."

    def _refuse(self, profile: str, needle: str, what: str, hint: str) -> NoReturn:
        line = line_of(self._text, profile, needle)
        raise MisuseError(f"{self._path}, line {line}, profile {profile!r}: {what}.", hint=hint)
