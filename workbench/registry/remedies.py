"""What to write into the entry of a launched server for failures that its own messages leave to be puzzled out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import Final

_WRITTEN_FOR_MCP_1: Final = re.compile(
    r"pin 'mcp<2'"  # what the package itself says of `mcp.server.fastmcp`
    r"|No module named 'mcp\.(?:server\.fastmcp|client\.websocket|server\.websocket)"
    r"|cannot import name '\w+' from (?:partially initialized module )?'mcp[.']"
    r"|module 'mcp(?:\.[\w.]+)?' has no attribute"
    r"|'(?:Server|FastMCP)' object has no attribute '(?:list_tools|call_tool|list_resources|read_resource"
    r"|list_resource_templates|list_prompts|get_prompt|progress_notification|set_logging_level|subscribe_resource"
    r"|unsubscribe_resource|completion)'"
)
"""How a server ends that was written for version 1 of the package `mcp`, does not say so, and got version 2: modules
and names that moved, and decorators that are gone (https://py.sdk.modelcontextprotocol.io/v2/migration/)."""

_OTHER_PYTHON: Final = re.compile(
    r"current Python version \((?P<has>[\d.]+)\) does not satisfy Python\s*"
    r"(?P<wants>[<>=!~]=?[\d.*]+(?:,\s*[<>=!~]=?[\d.*]+)*)"
    r"|No interpreter found for Python (?P<absent>(?:[<>=!~]=?)?[\d.]+(?:,\s*[<>=!~]=?[\d.]+)*)"
    r"|resolved to Python (?P<project_has>[\d.]+), which is incompatible with the project's Python requirement: "
    r"`(?P<project_wants>[^`]+)`"
    r"|requires a different Python: (?P<pip_has>[\d.]+) not in '(?P<pip_wants>[^']+)'"
)
"""How uv and pip say that a package needs another Python than the one it would run on."""

_LEAST: Final = re.compile(r"(?:>=|~=|==|^)\s*(\d+\.\d+)")
_BELOW: Final = re.compile(r"<\s*3\.(\d+)")


def remedy(said: str, command: Sequence[str], source: str) -> str:
    """What to do about a failure, in a sentence or two; empty where the message itself says all there is to say.

    Args:
        said: how the process ended, with the last lines of what it wrote.
        command: its program and arguments.
        source: where the server is configured.
    """
    where = f"of its entry in {source}" if source else "of its entry"
    if _WRITTEN_FOR_MCP_1.search(said):
        why = "It was written for version 1 of the Python package 'mcp', and has version 2."
        if place := _place_of_flags(command):
            return f'{why} Put "--with", "mcp<2" {place} "args" {where}.'
        program = PurePath(command[0]).name if command else "python"
        return f"{why} Install 'mcp<2' where {program!r} looks for its packages, or start it with uvx --with 'mcp<2'."
    if found := _OTHER_PYTHON.search(said):
        return _for_python(found, command, where)
    return ""


def _for_python(found: re.Match[str], command: Sequence[str], where: str) -> str:
    wants = found["wants"] or found["absent"] or found["project_wants"] or found["pip_wants"]
    has = found["has"] or found["project_has"] or found["pip_has"]
    least, below = _LEAST.search(wants), _BELOW.search(wants)
    version = least[1] if least else f"3.{int(below[1]) - 1}" if below else ""
    why = f"It needs Python {wants}, " + (f"and would run on {has}." if has else "which was not found on this machine.")
    install = f"`uv python install {version}` brings it" if version else "Install one that fits"
    if has and version and (place := _place_of_flags(command)):
        return f'{why} Put "--python", "{version}" {place} "args" {where}; {install} where it is missing.'
    return f"{why} {install}."


def _place_of_flags(command: Sequence[str]) -> str:
    """Where flags of uv belong among the arguments; empty where another program starts the server."""
    program = re.sub(r"\.exe$", "", PurePath(command[0]).name, flags=re.IGNORECASE) if command else ""
    if program == "uvx" or (program == "uv" and "tool" in command):
        return "before the name of the package in"
    return 'after "run" in' if program == "uv" and "run" in command else ""
