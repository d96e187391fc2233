"""Command lines as people write them: in one text, through a shell of another system, with paths of another machine."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Final

from workbench.registry.configuration.variables import EntryError

_WINDOWS_PATH = re.compile(r"(?:^|[=,:;\s\"'])([A-Za-z]:[\\/]\S|\\\\[^\\\s]+\\)")
_WINDOWS_VARIABLE = re.compile(
    r"%(?:APPDATA|LOCALAPPDATA|USERPROFILE|HOMEPATH|HOMEDRIVE|PROGRAMFILES|PROGRAMDATA|TEMP|USERNAME)(?:\(X86\))?%",
    re.IGNORECASE,
)
_WINDOWS_ENDING = re.compile(r"\.(?:cmd|bat|exe|ps1)$", re.IGNORECASE)
_SHELL_SWITCHES: Final = ("/c", "/s", "/d", "/q", "/r")


def normal_command(command: list[str], folder: Path, search: str | None, notices: list[str]) -> list[str]:
    """Program and arguments as they can be started on this machine.

    Args:
        command: program and arguments, variables filled in; the program may be a whole command line.
        folder: where the program is started; relative programs are looked for there.
        search: the PATH on which programs are looked for.
        notices: receives what was changed.

    Raises:
        EntryError: it is empty, cannot be split, or can exist on Windows alone.
    """
    program = command[0].strip()
    if not program:
        raise EntryError("the command is empty", hint="Expected the name or path of a program.")
    command = [program, *command[1:]]
    if re.search(r"\s", program) and not _exists(program, folder, search) and not _windows_path(program):
        command = [*split(program), *command[1:]]
        notices.append(f"The command was split: {command[0]} with {len(command) - 1} arguments.")
    if os.name != "nt":
        command = _without_windows(command, folder, search, notices)
    program = command[0]
    if program.startswith("~"):
        program = os.path.expanduser(program)
    if os.sep in program and not os.path.isabs(program):
        program = str(folder / program)
    return [program, *(os.path.expanduser(a) if a == "~" or a.startswith("~/") else a for a in command[1:])]


def split(line: str) -> list[str]:
    """The words of a command line, as a shell would take them.

    Raises:
        EntryError: a quotation is not closed.
    """
    try:
        words = shlex.split(line, posix="\\" not in line)
    except ValueError as e:
        raise EntryError(f"the command line cannot be split: {e}", hint="Write the arguments into 'args'.") from e
    if "\\" in line:
        words = [w[1:-1] if len(w) > 1 and w[0] == w[-1] and w[0] in "\"'" else w for w in words]
    if not words:
        raise EntryError("the command is empty", hint="Expected the name or path of a program.")
    return words


def _without_windows(command: list[str], folder: Path, search: str | None, notices: list[str]) -> list[str]:
    """The same for a machine that is no Windows, where that is certain."""
    given = command[0]
    name = _WINDOWS_ENDING.sub("", given).lower()
    if name in ("cmd", "cmd.exe") and not _exists(given, folder, search):
        rest = command[1:]
        while rest and rest[0].lower() in _SHELL_SWITCHES:
            rest = rest[1:]
        if not rest:
            raise EntryError("'cmd' without a program is Windows' own", hint="Name the program that is to run.")
        command = [*split(rest[0]), *rest[1:]] if " " in rest[0] else rest
        notices.append(f"Windows' {given} /c was left out: {command[0]} is started itself.")
    elif name in ("powershell", "pwsh", "wsl") and not _exists(given, folder, search):
        raise EntryError(f"{given!r} is not on this machine", hint="Name the program that is to run, as command.")
    for word in command:
        if found := _windows_path(word):
            raise EntryError(
                f"{word[:120]!r} has a path of Windows ({found})", hint="Give the path that it has on this machine."
            )
    if _WINDOWS_ENDING.search(command[0]) and not _exists(command[0], folder, search):
        plain = _WINDOWS_ENDING.sub("", command[0])
        notices.append(f"{command[0]} is Windows' name of {plain}.")
        command = [plain, *command[1:]]
    return command


def _windows_path(word: str) -> str:
    """The beginning of a path that only Windows has, or a variable of Windows; empty if there is none."""
    if found := _WINDOWS_VARIABLE.search(word):
        return found[0]
    found = _WINDOWS_PATH.search(word)
    return found[1][:3] if found else ""


def windows_path(word: str) -> bool:
    """Whether `word` names a file as only Windows does, on a machine that is none."""
    return os.name != "nt" and bool(_windows_path(word))


def _exists(program: str, folder: Path, search: str | None) -> bool:
    if "\0" in program:
        return False
    try:
        return (folder / program).is_file() or shutil.which(program, path=search) is not None
    except OSError:  # a name that is too long for a file
        return False
