"""Locked dependencies against a snapshot of advisories, offline: `python -m release.advisories --snapshot PATH`.

The snapshot is OSV's export for PyPI: a zip file, or a folder, with one JSON file per advisory (OSV schema 1.x,
https://ossf.github.io/osv-schema/). It is fetched where there is a network and carried to where there is none.

Exit status: 0 nothing found, 1 something found, 2 usage, 3 there is no snapshot.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NamedTuple

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).parents[1]
ACCEPTED = Path(__file__).with_name("accepted_advisories.toml")
LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-ci.lock")

_PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)


class Finding(NamedTuple):
    """One locked version that an advisory names."""

    package: str
    version: str
    advisory: str
    aliases: tuple[str, ...]
    summary: str
    fixed: tuple[str, ...]
    """Versions in which it is fixed, as far as the advisory says."""

    def __str__(self) -> str:
        known = f" ({', '.join(self.aliases)})" if self.aliases else ""
        fixed = f"Fixed in {', '.join(self.fixed)}." if self.fixed else "No fixed version is known."
        return f"{self.package} {self.version}: {self.advisory}{known}: {self.summary} {fixed}"


def pinned(text: str) -> dict[str, Version]:
    """Canonical names and versions of a lock file."""
    return {canonicalize_name(name): Version(version) for name, version in _PINNED.findall(text)}


def advisories(snapshot: Path) -> Iterator[dict[str, Any]]:
    """Every advisory of a snapshot, those that were withdrawn left out.

    Raises:
        ValueError: a file is not an advisory; the message names it.
    """
    for name, data in _files(snapshot):
        try:
            found = json.loads(data)
            if not isinstance(found, dict) or not isinstance(found["id"], str):
                raise TypeError
        except (ValueError, TypeError, KeyError):
            raise ValueError(f"{name} in {snapshot} is not an advisory in the OSV format.") from None
        if not found.get("withdrawn"):
            yield found


def _files(snapshot: Path) -> Iterator[tuple[str, bytes]]:
    if snapshot.is_dir():
        for path in sorted(snapshot.rglob("*.json")):
            yield path.name, path.read_bytes()
        return
    with zipfile.ZipFile(snapshot) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".json"):
                yield name, archive.read(name)


def findings(locked: dict[str, Version], known: Iterable[dict[str, Any]]) -> list[Finding]:
    """Which locked versions are affected."""
    found = []
    for advisory in known:
        for affected in advisory.get("affected") or ():
            about = affected.get("package") or {}
            if str(about.get("ecosystem", "")).partition(":")[0] != "PyPI":
                continue
            name = canonicalize_name(str(about.get("name", "")))
            if name in locked and _is_affected(locked[name], affected):
                found.append(
                    Finding(
                        name,
                        str(locked[name]),
                        advisory["id"],
                        tuple(advisory.get("aliases") or ()),
                        str(advisory.get("summary") or advisory.get("details") or "").split("\n")[0][:200],
                        tuple(
                            str(event["fixed"])
                            for each in affected.get("ranges") or ()
                            if each.get("type") == "ECOSYSTEM"
                            for event in each.get("events") or ()
                            if "fixed" in event
                        ),
                    )
                )
    return sorted(set(found))


def _is_affected(version: Version, affected: dict[str, Any]) -> bool:
    """OSV's evaluation algorithm, for one version."""
    if any(_parsed(listed) == version for listed in affected.get("versions") or ()):
        return True
    return any(
        _in_range(version, each.get("events") or ())
        for each in affected.get("ranges") or ()
        if each.get("type") == "ECOSYSTEM"
    )


def _in_range(version: Version, events: Iterable[dict[str, str]]) -> bool:
    ordered = []
    for event in events:
        for kind, text in event.items():
            at = Version("0.dev0") if text == "0" else _parsed(text)
            if at is not None and kind in ("introduced", "fixed", "last_affected"):
                ordered.append((at, kind))
    inside = False
    for at, kind in sorted(ordered, key=lambda pair: (pair[0], pair[1] != "introduced")):
        if kind == "introduced" and version >= at:
            inside = True
        elif (kind == "fixed" and version >= at) or (kind == "last_affected" and version > at):
            inside = False
    return inside


def _parsed(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


def accepted(path: Path, today: date) -> dict[str, str]:
    """Advisories that somebody looked at, with the reason; those whose `until` has passed count no more.

    Raises:
        ValueError: an entry has no reason or no end.
    """
    entries = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for advisory, entry in entries.items():
        if not isinstance(entry.get("reason"), str) or not isinstance(entry.get("until"), date):
            raise ValueError(f'{path} accepts {advisory} without `reason = "…"` and `until = YYYY-MM-DD`.')
    return {advisory: entry["reason"] for advisory, entry in entries.items() if entry["until"] >= today}


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m release.advisories", description=__doc__)
    parser.add_argument("--snapshot", type=Path, help="OSV's PyPI export: a zip file, or a folder of JSON files")
    parser.add_argument("locks", nargs="*", type=Path, default=[ROOT / name for name in LOCKS])
    given = parser.parse_args(arguments)
    if given.snapshot is None or not given.snapshot.exists():
        print(f"There is no advisory snapshot at {given.snapshot}: dependencies were not audited (docs/releasing.md).")
        return 3
    today = datetime.now(UTC).date()
    locked: dict[str, Version] = {}
    for path in given.locks:
        locked |= pinned(path.read_text(encoding="utf-8"))
    known = list(advisories(given.snapshot))
    newest = max((str(each.get("modified", "")) for each in known), default="")[:10]
    excused = accepted(ACCEPTED, today)
    found = findings(locked, known)
    open_findings = [each for each in found if each.advisory not in excused]
    for each in found:
        print(f"accepted: {each} Reason: {excused[each.advisory]}" if each.advisory in excused else str(each))
    about = f"{len(locked)} locked packages, {len(known)} advisories up to {newest or 'no date'}"
    print(f"{about}: {len(open_findings)} found.")
    return bool(open_findings)


if __name__ == "__main__":
    sys.exit(main())
