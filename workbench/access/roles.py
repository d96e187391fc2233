"""Roles: which scopes each one grants. Shipped in `roles.toml`, replaced by an edited copy in the state folder."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from importlib import resources
from pathlib import Path

from workbench.config import Settings
from workbench.events import Caller, MisuseError, Record
from workbench.suggestions import close_names

OWNER = "owner"
"""The role of the user of this machine."""
SCOPE = re.compile(r"\*|[A-Za-z0-9_.\-]+(?::[A-Za-z0-9_.\-]+)*(?::\*)?")
"""A scope: names joined by colons; `:*` at the end, or `*` alone, stands for everything below."""


class Role(Record, frozen=True, kw_only=True):
    """A named set of scopes."""

    name: str
    scopes: tuple[str, ...]
    description: str = ""


class Roles:
    """The roles in force, by name.

    Args:
        roles: as read from a file.
        source: where they come from, for messages.
        path: the edited file that they come from; None for the shipped ones.
    """

    def __init__(self, roles: Mapping[str, Role], source: str, path: Path | None = None) -> None:
        self.roles = dict(roles)
        self.source = source
        self.path = path

    def scopes(self, names: Iterable[str]) -> frozenset[str]:
        """Everything that the named roles grant; a name that no role has grants nothing."""
        return frozenset(s for name in names if name in self.roles for s in self.roles[name].scopes)

    def granting(self, names: Iterable[str], scope: str) -> tuple[str, str] | None:
        """The first of the named roles that covers `scope`, and through which of its scopes."""
        for name in names:
            for grant in self.roles[name].scopes if name in self.roles else ():
                if covers(grant, scope):
                    return name, grant
        return None

    def check(self, names: Collection[str]) -> None:
        """Raises Misuse when one of the names is no role, saying which was meant."""
        for name in names:
            if name not in self.roles:
                close = close_names(name, self.roles, 1)
                meant = f"Did you mean {close[0]!r}? " if close else ""
                raise MisuseError(f"There is no role {name!r}.", hint=f"{meant}Roles are {', '.join(self.roles)}.")


def covers(grant: str, scope: str) -> bool:
    """Whether holding `grant` is holding `scope`: the same, or a wider one (`crm:*` for `crm:read:pii`)."""
    return Caller(tenant="", subject="", scopes=frozenset((grant,))).has(scope)


def narrowed(granted: Collection[str], asked: Collection[str]) -> frozenset[str]:
    """What is left of `granted` for a credential made for `asked`: of each overlapping pair the narrower one."""
    inner = {a for a in asked if any(covers(g, a) for g in granted)}
    return frozenset(inner | {g for g in granted if any(covers(a, g) for a in asked)})


def check_scopes(scopes: Collection[str], source: str) -> None:
    """Raises Misuse when one of them is not written like a scope."""
    for scope in scopes:
        if not isinstance(scope, str) or not SCOPE.fullmatch(scope):
            raise MisuseError(
                f"{source} names the scope {scope!r}.",
                hint="Expected names joined by colons, such as crm:read or crm:*.",
            )


def roles_file(settings: Settings) -> Path | None:
    """The edited file, when there is one; None means the shipped roles."""
    for folder in (settings.policy, settings.home / "policy"):
        if folder is not None and (folder / "roles.toml").is_file():
            return folder / "roles.toml"
    return None


def write_roles(settings: Settings) -> Path:
    """Write the shipped roles to the file that replaces them, so that it can be edited; where it is.

    Raises:
        MisuseError: there is an edited file already, or it cannot be written.
    """
    if there := roles_file(settings):
        raise MisuseError(
            f"The roles in force are in {there} already.", hint="Edit that file; it is read again by itself."
        )
    path = (settings.policy or settings.home / "policy") / "roles.toml"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(_shipped())
    except OSError as e:
        raise MisuseError(f"{path} cannot be written: {e.strerror or e}.", hint="Give yourself the right.") from e
    return path


def _shipped() -> str:
    return (resources.files(__package__) / "roles.toml").read_text("utf-8")


def read_roles(path: Path | None) -> Roles:
    """Read `path`, or what is shipped.

    Raises:
        MisuseError: not valid TOML, or not tables with `scopes`; the message names file and role.
    """
    source = str(path) if path else "the shipped roles.toml"
    try:
        found = tomllib.loads(path.read_text("utf-8") if path else _shipped())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise MisuseError(f"{source} is not readable TOML: {e}.", hint="Mend the file or move it away.") from e
    roles: dict[str, Role] = {}
    for name, table in found.items():
        scopes = table.get("scopes") if isinstance(table, dict) else None
        if not isinstance(scopes, list):
            raise MisuseError(f"{source}: role {name!r} has no list of scopes.", hint='Expected scopes = ["crm:read"].')
        unknown = set(table) - {"scopes", "description"}
        if unknown:
            raise MisuseError(
                f"{source}: role {name!r} has the key {sorted(unknown)[0]!r}.", hint="Expected scopes and description."
            )
        check_scopes(scopes, f"{source}: role {name!r}")
        roles[name] = Role(name=name, scopes=tuple(scopes), description=str(table.get("description", "")))
    if OWNER not in roles:
        raise MisuseError(f"{source} has no role {OWNER!r}, which the local user has.", hint="It may have no scopes.")
    return Roles(roles, source, path)
