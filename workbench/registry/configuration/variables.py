"""Variables in the texts of a configuration, in the notations of all clients, and the files that texts may name."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from workbench.events import MisuseError, WorkbenchError
from workbench.secrets import is_reference, references, remember

MAX_FILE_BYTES: Final = 256 << 10
"""Largest file that `envFile` or `${file:…}` may name."""
OWN_PREFIX: Final = "WORKBENCH_"
"""How the variables of the gateway's own settings begin; they hold its token and the passwords of its stores."""

_VARIABLE = re.compile(
    r"\$\{\{\s*(?P<template>[^{}]*?)\s*\}\}"  # ${{ secrets.NAME }}: Continue
    r"|\$\{(?P<braced>(?:[^{}]|\$\{[^{}]*\})*)\}"
    r"|\{(?P<opencode>(?:env|file):[^{}]+)\}"
    r"|\$(?P<dollar>[A-Za-z_][A-Za-z0-9_]*)"
)
_INPUT = re.compile(
    r"\$\{(?:input|inputs|prompt):([^{}]+)\}|\$\{user_config\.([^{}]+)\}|\$\{\{\s*(?:secrets|inputs)\.([^{}\s]+)\s*\}\}"
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_()]*")
_WITH_DEFAULT = re.compile(r"([A-Za-z_][A-Za-z0-9_()]*)(:?[-=])(.*)", re.DOTALL)
_PROJECT = ("workspaceFolder", "workspaceRoot", "cwd", "projectDir", "projectRoot", "CLAUDE_PROJECT_DIR")
_PLUGIN = ("__dirname", "CLAUDE_PLUGIN_ROOT", "extensionPath", "extension_path")
_DOLLAR_CLIENTS = ("Gemini CLI", "Copilot CLI", "Crush", "Codex")
"""Clients that also expand `$NAME`. With others it reaches the server as it stands."""

_CLIENT_FOLDERS = (
    ".vscode", ".cursor", ".kiro", ".roo", ".gemini", ".qwen", ".amazonq", ".zed", ".junie", ".continue", ".claude",
    ".idea", ".codex", ".windsurf", ".trae", ".github", ".copilot", ".vs", ".aiassistant", ".claude-plugin", ".ai",
    "settings", "mcpServers", "mcp", ".crush", ".opencode", ".lmstudio",
)  # fmt: skip
"""Folders in which clients keep their files inside of a project."""


class NoSuchFileError(WorkbenchError):
    """A file that a configuration names does not exist."""


class EntryError(WorkbenchError):
    """One server of a configuration cannot be used as it is configured.

    Args:
        message: what was found, without a full stop.
        hint: what to do.
        where: path of the key in the file, below the server.
    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str = "", where: tuple[str | int, ...] = ()) -> None:
        self.where = where
        super().__init__(message, hint=hint)


class MissingInputError(EntryError):
    """A server needs what only a person can give, and nobody gave it."""


@dataclass
class ConfigurationSource:
    """Where a configuration comes from, and what its variables are looked up in."""

    path: Path
    env: Mapping[str, str] = field(default_factory=lambda: os.environ)
    inputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Id of an input → how it is asked for."""
    has_secret: Callable[[str], bool] = lambda name: False
    """Whether the secrets provider has a secret of that name."""
    closed: tuple[Path, ...] = ()
    """Folders whose files no configuration may name: the state folder, with our keys and everybody's secrets."""
    keep_variables: bool = False
    """Leave variables that depend on the environment as they stand, to be read when a server starts."""

    @property
    def folder(self) -> Path:
        """The folder of the configuration file."""
        return self.path.absolute().parent

    @property
    def project(self) -> Path:
        """The folder of the project: that of the file, or the one around the folder of a client."""
        folder = self.folder
        while folder.name in _CLIENT_FOLDERS and folder.parent != folder:
            folder = folder.parent
        return folder


class Variables:
    """Fills variables in, for one server.

    Args:
        place: where the file is, and its environment.
        client: whose file it is; decides whether `$NAME` is a variable.
        project: the project of the server, if the file says so; default is that of the file.
    """

    def __init__(self, place: ConfigurationSource, client: str = "", project: Path | None = None) -> None:
        self.place = place
        self.project = project or place.project
        self._asked: set[str] = set()
        """Inputs that became references to secrets."""
        self._dollar = client in _DOLLAR_CLIENTS

    def fill(self, text: str, *, secrets: bool = False, deferred: bool = False) -> str:
        """`text` with values in place of variables.

        Args:
            text: as it stands in the file.
            secrets: whether it may hold `secret:NAME`, which is resolved when it is used.
            deferred: whether an input may become a reference to a secret, resolved when it is used.

        Raises:
            EntryError: a variable has no value, cannot have one here, or a secret stands where it would be shown.
        """
        if is_reference(text):
            self.check_references(text, allowed=secrets)
        filled = _VARIABLE.sub(lambda match: self._value(match, deferred or secrets), text)
        if is_reference(filled):  # a variable or its default may have brought one in
            self.check_references(filled, allowed=secrets)
        if "\0" in filled or any("\ud800" <= char <= "\udfff" for char in filled):
            raise EntryError("it has a character that no program can be given", hint="Remove it.")
        return filled

    def check_references(self, text: str, *, allowed: bool) -> None:
        """Look at the secrets that a text of the configuration names.

        Args:
            text: with a reference.
            allowed: whether any secret may stand there, or only what was asked for as an input.

        Raises:
            EntryError: one must not stand there, is the gateway's own, or is malformed.
        """
        try:
            named = references(text)
        except MisuseError as e:
            raise EntryError("'secret:…' is no reference", hint=e.hint) from e
        if not allowed and any(each.name not in self._asked for each in named):
            hint = "Secrets can stand in env, headers and auth; a command line or an address is shown to others."
            raise EntryError("a secret is named here", hint=hint)
        for each in named:
            _check_own(each.name, "secret")

    def _value(self, match: re.Match[str], deferred: bool) -> str:
        if (template := match["template"]) is not None:
            kind, _, name = template.partition(".")
            return (
                self._input(name, deferred)
                if kind in ("secrets", "inputs") and name
                else self._braced(template, deferred)
            )
        if (name := match["dollar"]) is not None:
            return self._of_environment(name, None) if self._dollar else match[0]
        return self._braced(match["opencode"] or match["braced"] or "", deferred)

    def _braced(self, given: str, deferred: bool) -> str:
        if given.split(":")[0] in _PROJECT:
            return str(self.project)
        fixed = {
            "workspaceFolderBasename": self.project.name, "userHome": str(Path.home()), "/": os.sep,
            "pathSeparator": os.sep, "~": str(Path.home()),
        } | dict.fromkeys(_PLUGIN, str(self.place.project))  # fmt: skip
        if given in fixed:
            return fixed[given]
        kind, _, rest = given.partition(":")
        if kind == "secret":
            return f"${{{given}}}"
        if kind in ("input", "prompt", "inputs"):
            return self._input(rest, deferred)
        if given.startswith("user_config."):
            return self._input(given.removeprefix("user_config."), deferred)
        if kind == "file" and rest:
            return self._of_file(rest)
        if kind in ("command", "config"):
            raise EntryError(f"'${{{given[:80]}}}' is known to the editor alone", hint="Write the value itself.")
        name, default = given.removeprefix("env:").removeprefix("env."), None
        if found := _WITH_DEFAULT.fullmatch(name):
            name, default = found[1], found[3]
        if not _NAME.fullmatch(name):
            raise EntryError(f"'${{{given[:80]}}}' is no variable", hint="Expected ${NAME} or ${env:NAME}.")
        return self._of_environment(name, default)

    def _of_environment(self, name: str, default: str | None) -> str:
        _check_own(name, "variable")
        if self.place.keep_variables:
            return f"${{{name}}}" if default is None else f"${{{name}:-{default}}}"
        if value := self.place.env.get(name):
            return value
        if default is not None:
            return self.fill(default, secrets=True)
        if name in self.place.env:
            return ""
        raise EntryError(f"the variable {name} is not set", hint=f"Set it: export {name}=…")

    def _input(self, id: str, deferred: bool) -> str:
        _check_own(id, "input")
        asked = self.place.inputs.get(id, {})
        if self.place.keep_variables:
            return f"${{input:{id}}}"
        if self.place.has_secret(id):
            if deferred:
                self._asked.add(id)
                return f"${{secret:{id}}}"
            raise EntryError(
                f"the input {id!r} would be shown here", hint="Write its value, or put it into env or headers."
            )
        if isinstance(default := asked.get("default"), str | int | float) and default != "":
            return str(default)
        hint = f"Start on a terminal to be asked, or put it into the secrets folder as a file named {id!r}, mode 0600."
        raise MissingInputError(f"the input {id!r} was not given", hint=hint)

    # --- files

    def _of_file(self, name: str) -> str:
        path = self.path(name)
        if self.place.keep_variables:
            return f"${{file:{path}}}"
        try:
            text = read_small_file(path, self.place.closed).strip()
        except NoSuchFileError as e:
            raise EntryError(str(e.args[0]).rstrip("."), hint=e.hint) from e
        remember(text)
        return text

    def path(self, text: str) -> Path:
        """The file or folder that `text` names. `~` is home; what is relative is looked for in the project, and
        beside the configuration file."""
        path = Path(text)
        if text.startswith("~"):
            try:
                path = path.expanduser()
            except RuntimeError as e:
                raise EntryError(f"there is no home folder for {text[:80]!r}", hint="Write the whole path.") from e
        if path.is_absolute():
            return path
        found = (folder / path for folder in (self.project, self.place.folder))
        try:
            return next((each for each in found if each.exists()), self.place.folder / path)
        except (OSError, ValueError) as e:
            raise EntryError(f"{text[:80]!r} is no path", hint="Write the whole path.") from e


def _check_own(name: str, what: str) -> None:
    if name.upper().startswith(OWN_PREFIX):
        raise EntryError(f"the {what} {name[:80]} is the gateway's own", hint=f"Give the server a {what} of its own.")


def inputs_in(value: Any) -> list[str]:
    """Ids of the inputs that the texts of an entry name, in their order."""
    if isinstance(value, str):
        return [next(filter(None, match)) for match in _INPUT.findall(value)]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return list(dict.fromkeys(id for each in inner for id in inputs_in(each)))


def read_small_file(path: Path, closed: tuple[Path, ...] = ()) -> str:
    """The text of a file that a configuration names.

    Raises:
        NoSuchFileError: there is none.
        EntryError: it may not be read so. Nothing of its content is told.
    """
    if why := _forbidden(path, closed):
        raise EntryError(f"the file {str(path)!r} may not be named by a configuration", hint=why)
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise EntryError(f"{str(path)!r} is no file", hint="Give the path of a file.")
            data = b""
            while len(data) <= MAX_FILE_BYTES and (chunk := os.read(descriptor, MAX_FILE_BYTES + 1)):
                data += chunk
        finally:
            os.close(descriptor)
    except (FileNotFoundError, NotADirectoryError) as e:
        raise NoSuchFileError(f"The file {str(path)!r} does not exist.", hint="Make it, or correct the path.") from e
    except (OSError, ValueError) as e:
        reason = e.strerror if isinstance(e, OSError) else "it is no path"
        raise EntryError(
            f"the file {str(path)!r} cannot be read: {reason}", hint="Make it, or correct the path."
        ) from e
    if len(data) > MAX_FILE_BYTES:
        raise EntryError(f"the file {str(path)!r} is larger than {MAX_FILE_BYTES} bytes", hint="Give a smaller one.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise EntryError(f"the file {str(path)!r} is not UTF-8 text", hint="Save it as UTF-8.") from e.with_traceback(
            None
        )


def _forbidden(path: Path, closed: tuple[Path, ...]) -> str:
    try:
        real = path.resolve()
    except (OSError, ValueError, RuntimeError):
        return "It is no path."
    for folder in closed:
        if real.is_relative_to(folder.resolve()):
            return "The state folder holds the keys of the gateway and the secrets of others."
    if real.parts[1:2] and real.parts[1] in ("proc", "dev", "sys") and real.parts[1:3] != ("dev", "shm"):
        return "It is no file on a disk."
    return ""


_LINE = re.compile(r"\s*(?:export\s+)?([^\s=#][^=]*?)\s*[=:]\s?(.*)")


def read_env_file(text: str) -> dict[str, str]:
    """The variables of a file of `NAME=value` lines, as dotenv and Docker write it; other lines are passed over.

    Values may stand in quotes; in double ones, `\\n` is a line break. Without quotes, ` #` begins a comment.
    """
    found: dict[str, str] = {}
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None or line.lstrip().startswith("#"):
            continue
        name, value = match[1], match[2].strip()
        quote = value[:1]
        if quote in ("'", '"') and (end := value.find(quote, 1)) > 0:
            value = value[1:end].replace("\\n", "\n") if quote == '"' else value[1:end]
        else:
            value = re.split(r"\s+#", value, maxsplit=1)[0].strip()
        found[name] = value
    return found
