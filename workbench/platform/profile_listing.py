"""What a platform says of its profiles: to callers, to who starts it, and on the record."""

from __future__ import annotations

from collections.abc import Callable

from workbench.events import JSON, Caller
from workbench.gateway import Gateway


def listed(gateway: Gateway, caller: Caller) -> JSON:
    """The profiles, each with the tools of it that `caller` may call; and what is wrong with their file."""
    profiles = gateway.profiles
    found = [profiles.described(profile, gateway.tools(caller, profile.name)) for profile in profiles.all()]
    return {"profiles": found, "problems": profiles.problems() if caller.has("servers:manage") else []}


def follow(gateway: Gateway, happened: Callable[[str, JSON], None]) -> None:
    """Call `happened` whenever other profiles are in force, or the file has become one that cannot be meant."""
    profiles = gateway.profiles

    def changed() -> None:
        names = [profile.name for profile in profiles.all()]
        if profiles.broken:
            happened("profiles_refused", {"profiles": names, "problem": profiles.broken})
        else:
            happened("profiles_changed", {"profiles": names})

    profiles.on_change.append(changed)
