"""What a person should know of the tools of one server: which are held back, which are left out, which are repaired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from workbench.events import Tool

MAX_NAMED: Final = 5
"""Tools that one notice names; the rest is counted."""
_MAX_REASON: Final = 200


def tool_notices(tools: Sequence[Tool], left_out: Mapping[str, str]) -> tuple[str, ...]:
    """Notices on a server's tools, each a sentence or two with what to do next.

    Args:
        tools: all that the server lists.
        left_out: name → why, of those that cannot be used.
    """
    found = []
    if held := {tool.name: tool.quarantined for tool in tools if tool.quarantined}:
        found.append(
            f"{_counted(len(held), 'tool')} quarantined and cannot be called: {_reasons(held)} "
            "`workbench servers changes` shows what differs and how to accept it, once for all where only times, "
            "numbers, versions or paths vary."
        )
    if left_out:
        found.append(f"{_counted(len(left_out), 'tool')} left out: {_reasons(left_out)}")
    if repaired := sorted(tool.name for tool in tools if tool.repairs):
        found.append(
            f"The definitions of {_names(repaired)} are read otherwise than they are written: `workbench tools` with "
            "the name says how."
        )
    if renamed := sorted(tool.name for tool in tools if tool.original is not None):
        found.append(
            f"{_counted(len(renamed), 'tool')} called otherwise than by the server: {_names(renamed)}. "
            "`workbench tools` says what the server calls them."
        )
    return tuple(found)


def _reasons(why: Mapping[str, str]) -> str:
    """The tools with their reasons, those of one reason together."""
    together: dict[str, list[str]] = {}
    for name in sorted(why):
        together.setdefault(why[name], []).append(name)
    said = [f"{_names(names)} ({reason[:_MAX_REASON].rstrip('.')})" for reason, names in together.items()]
    more = len(said) - MAX_NAMED
    return "; ".join(said[:MAX_NAMED]) + (f"; {more} more" if more > 0 else "") + "."


def _names(names: Sequence[str]) -> str:
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun} is" if number == 1 else f"{number} {noun}s are"
