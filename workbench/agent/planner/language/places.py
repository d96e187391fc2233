"""Places: which timezone one is in, from the names in the IANA database itself, and the ISO 3166 codes of countries."""

from __future__ import annotations

import functools
import zoneinfo


def _table(text: str) -> dict[str, str]:
    """`key: value; key: value` over as many lines as it takes."""
    pairs = (entry.split(":", 1) for entry in " ".join(text.split()).split(";"))
    return {key.strip(): value.strip() for key, value in pairs}


_WIDER = _table(
    """
    new york city: America/New_York; nyc: America/New_York; san francisco: America/Los_Angeles; seattle:
    America/Los_Angeles; boston: America/New_York; washington: America/New_York; miami: America/New_York; texas:
    America/Chicago; india: Asia/Kolkata; mumbai: Asia/Kolkata; delhi: Asia/Kolkata; new delhi: Asia/Kolkata;
    bangalore: Asia/Kolkata; china: Asia/Shanghai; beijing: Asia/Shanghai; germany: Europe/Berlin; munich:
    Europe/Berlin; frankfurt: Europe/Berlin; hamburg: Europe/Berlin; france: Europe/Paris; spain: Europe/Madrid;
    barcelona: Europe/Madrid; italy: Europe/Rome; milan: Europe/Rome; england: Europe/London; uk: Europe/London;
    switzerland: Europe/Zurich; geneva: Europe/Zurich; austria: Europe/Vienna; netherlands: Europe/Amsterdam;
    sweden: Europe/Stockholm; norway: Europe/Oslo; rio de janeiro: America/Sao_Paulo; osaka: Asia/Tokyo; kyoto:
    Asia/Tokyo; korea: Asia/Seoul; kyiv: Europe/Kiev
    """
)


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


_COUNTRIES = _table(
    """
    AE: united arab emirates; AR: argentina; AT: austria; AU: australia; BE: belgium; BG: bulgaria; BR: brazil; CA:
    canada; CH: switzerland; CL: chile; CN: china; CO: colombia; CZ: czechia|czech republic; DE: germany; DK:
    denmark; EE: estonia; EG: egypt; ES: spain; FI: finland; FR: france; GB: united kingdom|great
    britain|uk|britain|england; GR: greece; HK: hong kong; HR: croatia; HU: hungary; ID: indonesia; IE: ireland; IL:
    israel; IN: india; IS: iceland; IT: italy; JP: japan; KE: kenya; KR: south korea|korea; LT: lithuania; LU:
    luxembourg; LV: latvia; MA: morocco; MX: mexico; MY: malaysia; NG: nigeria; NL: netherlands|the
    netherlands|holland; NO: norway; NZ: new zealand; PE: peru; PH: philippines; PK: pakistan; PL: poland; PT:
    portugal; RO: romania; RS: serbia; RU: russia; SA: saudi arabia; SE: sweden; SG: singapore; SI: slovenia; SK:
    slovakia; TH: thailand; TR: turkey|türkiye; TW: taiwan; UA: ukraine; US: united states|usa|united states of
    america|america|u.s.|the us; VN: vietnam; ZA: south africa
    """
)
_CODES = {name: code for code, names in _COUNTRIES.items() for name in names.split("|")}


def country_code(place: str) -> str | None:
    """The ISO 3166 code of two letters of a country's English name, or of a code itself; None when it is not known."""
    if place in _COUNTRIES:
        return place
    return _CODES.get(place.strip().lower())
