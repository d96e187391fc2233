"""Places: which timezone one is in, from the names in the IANA database itself, and the ISO 3166 codes of countries."""

from __future__ import annotations

import functools
import zoneinfo

from workbench.agent.planner.planner_data import lexicon

_WIDER = lexicon().places.timezones


@functools.lru_cache(maxsize=1)
def _cities() -> dict[str, str]:
    found: dict[str, str] = {}
    for zone in sorted(zoneinfo.available_timezones()):
        area, _, city = zone.rpartition("/")
        if area and not area.startswith(
            ("Etc", "posix", "right", "SystemV", "US", "Canada", "Brazil", "Chile", "Mexico")
        ):
            found.setdefault(city.replace("_", " ").lower(), zone)
        elif not area and zone not in ("Factory", "localtime", "posixrules"):
            found.setdefault(zone.lower(), zone)
    return found


def timezone_of(place: str) -> str | None:
    """The IANA timezone of a city, a country with one zone, or a zone name; None when it is not known."""
    if place in zoneinfo.available_timezones():
        return place
    name = place.strip().lower()
    return _WIDER.get(name) or _cities().get(name)


_COUNTRIES = lexicon().places.countries
_CODES = {name: code for code, names in _COUNTRIES.items() for name in names.split("|")}


def country_code(place: str) -> str | None:
    """The ISO 3166 code of two letters of a country's English name, or of a code itself; None when it is not known."""
    if place in _COUNTRIES:
        return place
    return _CODES.get(place.strip().lower())
