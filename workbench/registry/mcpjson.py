"""Reads an `mcp.json`: the `mcpServers` of Claude Desktop and Cursor, or the `servers` of VS Code."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from workbench.config import BUNDLED_SERVERS
from workbench.events import Misuse
from workbench.registry import jsonc
from workbench.registry.auth import ServerAuth, server_auth
from workbench.registry.names import close_names, header_objection, server_id
from workbench.registry.server import ServerSpec
from workbench.registry.tls import PATHS, ServerTls, server_tls
from workbench.secrets import is_reference, references

MAX_BYTES = 1 << 20

_TOP = ("mcpServers", "servers")
_STDIO = ("command", "args", "env", "cwd")
_HTTP = ("url", "headers", "auth", "tls")
_KEYS = ("type", "transport", "title", "name", "description", "disabled", *_STDIO, *_HTTP)
# What other programs keep in the same file: how they approve, show or time out a server, which is ours to decide here.
_THEIRS = ("autoApprove", "alwaysAllow", "timeout", "gallery", "version", "tools", "dev", "icon", "trust", "$schema")
_THEIR_TOP = ("inputs", "$schema", "globalShortcut", "preferences", "version")
_SECRET = ("env", "headers", "auth")
_TYPES = {
    "stdio": "command",
    "http": "url",
    "streamable-http": "url",
    "streamableHttp": "url",
    "sse": "url",
}
_VARIABLE = re.compile(r"\$\{([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def read_mcp_json(path: Path | str, *, env: Mapping[str, str] | None = None) -> list[ServerSpec]:
    """The servers that a file configures, in its order; those marked `disabled` are left out.

    Args:
        path: the file. Comments and trailing commas are fine.
        env: where `${NAME}` and `${env:NAME}` are looked up; default the environment. `${NAME:-text}` has a default,
            `${workspaceFolder}` is the folder of the project that holds the file, `${userHome}` the home folder.
            `${secret:NAME}` in `env`, `headers` and `auth` stays as it stands: secrets are read when they are used.

    Raises:
        Misuse: the file cannot be read or cannot be meant; names the file, the line, the key, and what was expected.
    """
    return _Reader(Path(path).expanduser(), os.environ if env is None else env).read()


class _Reader:
    """One reading of one file: knows where it is, so that every refusal can say so."""

    def __init__(self, path: Path, env: Mapping[str, str]) -> None:
        self.path = path
        self.env = env
        self.document = jsonc.Document({}, {})

    def read(self) -> list[ServerSpec]:
        self.document = self._parse()
        top = self.document.value
        if not isinstance(top, dict):
            self._refuse((), f"the file holds {_kind(top)}", "Expected an object with the key 'mcpServers'.")
        present = [key for key in _TOP if key in top]
        for key in top:
            if key not in (*_TOP, *_THEIR_TOP):
                self._refuse((key,), f"unknown key {key!r}", self._meant(key, _TOP))
        if len(present) != 1:
            given = "both 'mcpServers' and 'servers'" if present else "neither 'mcpServers' nor 'servers'"
            self._refuse(tuple(present[:1]), f"there is {given}", "Expected one of them, with servers by name.")
        servers = self._object((present[0],), top[present[0]])
        specs: list[ServerSpec] = []
        for name, entry in servers.items():
            where = (present[0], name)
            spec = self._server(where, name, self._object(where, entry), [s.id for s in specs])
            if spec is not None:
                specs.append(spec)
        return specs

    def _parse(self) -> jsonc.Document:
        try:
            if self.path.stat().st_size > MAX_BYTES:
                raise Misuse(f"{self.path} is larger than {MAX_BYTES} bytes.", hint="Is it really an mcp.json?")
            return jsonc.parse(self.path.read_text(encoding="utf-8-sig"))
        except OSError as e:
            raise Misuse(f"{self.path} cannot be read: {e.strerror or e}.", hint="Check the path of mcp_config.") from e
        except UnicodeDecodeError as e:
            raise Misuse(f"{self.path} is not UTF-8 text: {e.reason}.", hint="Save it as UTF-8.") from e
        except jsonc.Malformed as e:
            raise Misuse(f"{self.path}, line {e.line}: {e}.", hint="Expected JSON; mend that line.") from e

    def _server(self, where: jsonc.Path, name: str, entry: dict[str, Any], taken: list[str]) -> ServerSpec | None:
        for key in entry:
            if key not in (*_KEYS, *_THEIRS):
                self._refuse((*where, key), f"unknown key {key!r}", self._meant(key, _KEYS))
        if self._boolean((*where, "disabled"), entry.get("disabled", False)):
            return None
        try:
            id = server_id(name, (*BUNDLED_SERVERS, *taken))
        except Misuse as e:
            self._refuse(where, str(e.args[0]).rstrip("."), e.hint)
        kind = self._transport(where, entry)
        wrong = next((k for k in (_HTTP if kind == "command" else _STDIO) if k in entry), None)
        if wrong is not None:
            self._refuse((*where, wrong), f"{wrong!r} beside {kind!r}", f"Expected a {kind} or the other, not both.")
        common: dict[str, Any] = {
            "id": id,
            "title": self._text((*where, "title"), entry.get("title", entry.get("name", name))),
            "description": self._text((*where, "description"), entry.get("description", "")),
            "source": str(self.path),
        }
        if kind == "url":
            urls = self._urls((*where, "url"), entry.get("url"))
            return ServerSpec(
                kind="url",
                url=urls[0],
                more_urls=urls[1:],
                sse="sse" in (entry.get("type"), entry.get("transport")),
                headers=self._headers(where, entry),
                auth=self._auth((*where, "auth"), entry),
                tls=self._tls((*where, "tls"), entry, urls),
                **common,
            )
        command = self._text((*where, "command"), entry.get("command")).strip()
        if not command:
            self._refuse((*where, "command"), "the command is empty", "Expected the name or path of a program.")
        if not isinstance(args := entry.get("args", []), list):
            self._refuse((*where, "args"), f"'args' is {_kind(args)}", "Expected a list of texts.")
        return ServerSpec(
            kind="command",
            stdio=True,
            command=(
                os.path.expanduser(command),
                *(self._text((*where, "args", n), a, numbers=True) for n, a in enumerate(args)),
            ),
            env=self._env((*where, "env"), entry.get("env")),
            cwd=self._folder((*where, "cwd"), entry.get("cwd")),
            **common,
        )

    def _transport(self, where: jsonc.Path, entry: dict[str, Any]) -> str:
        """`command` or `url`, from `type` (or `transport`), or from which of the two keys is there."""
        for key in ("type", "transport"):
            if (given := entry.get(key)) is not None:
                if not isinstance(given, str) or given not in _TYPES:
                    self._refuse((*where, key), f"{key!r} is {given!r}", f"Expected one of {', '.join(_TYPES)}.")
                needed = _TYPES[given]
                if needed not in entry:
                    self._refuse((*where, key), f"type {given!r} without {needed!r}", f"Add the key {needed!r}.")
                return needed
        if ("command" in entry) == ("url" in entry):
            given = "both 'command' and 'url'" if "url" in entry else "neither 'command' nor 'url'"
            self._refuse(where, f"server {where[-1]!r} has {given}", "Expected one of them.")
        return "command" if "command" in entry else "url"

    # --- values

    def _text(self, where: jsonc.Path, value: Any, *, numbers: bool = False) -> str:
        if numbers and isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            self._refuse(where, f"{where[-1]!r} is {_kind(value)}", "Expected a text.")
        if is_reference(value):
            self._check_secret(where, value)
        text = _VARIABLE.sub(lambda match: self._variable(where, match.group(1)), value)
        if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
            self._refuse(where, f"{where[-1]!r} has a character that no program can be given", "Remove it.")
        return text

    def _check_secret(self, where: jsonc.Path, value: str) -> None:
        """Secrets may stand only where nobody but the server gets to see them, and in the form of a reference."""
        if len(where) < 3 or where[2] not in _SECRET:
            hint = f"Secrets can stand in {', '.join(_SECRET)}; a command line or an address is shown to others."
            self._refuse(where, "a secret is named here", hint)
        try:
            references(value)
        except Misuse as e:
            self._refuse(where, "'secret:…' is no reference", e.hint)

    def _variable(self, where: jsonc.Path, given: str) -> str:
        if given == "workspaceFolder":
            folder = self.path.absolute().parent
            return str(folder.parent if folder.name in (".vscode", ".cursor") else folder)
        if given == "userHome":
            return str(Path.home())
        if given.startswith("secret:"):
            return f"${{{given}}}"
        if given.startswith("input:"):
            self._refuse(where, f"'${{{given}}}' asks a person", "Use ${env:NAME} and set the variable.")
        name, has_default, default = given.removeprefix("env:").partition(":-")
        if not _NAME.fullmatch(name):
            self._refuse(where, f"'${{{given}}}' is no variable", "Expected ${NAME} or ${env:NAME}.")
        if name not in self.env and not has_default:
            self._refuse(where, f"the variable {name} is not set", f"Set it: export {name}=…")
        return self.env.get(name) or default

    def _env(self, where: jsonc.Path, value: Any) -> dict[str, str]:
        found = {}
        for name, text in self._object(where, {} if value is None else value).items():
            if not _NAME.fullmatch(name):
                self._refuse((*where, name), f"{name!r} is no name of a variable", "Use letters, digits, underscore.")
            if text is None:
                continue
            text = str(text).lower() if isinstance(text, bool) else text
            found[name] = self._text((*where, name), text, numbers=True)
        return found

    def _headers(self, where: jsonc.Path, entry: dict[str, Any]) -> dict[str, str]:
        where = (*where, "headers")
        found = {}
        for name, value in self._object(where, entry.get("headers") or {}).items():
            text = self._text((*where, name), value, numbers=True).strip()
            if why := header_objection(name, text):
                self._refuse((*where, name), why, "Mend or remove it.")
            found[name] = text
        return found

    def _auth(self, where: jsonc.Path, entry: dict[str, Any]) -> ServerAuth | None:
        if (given := entry.get("auth")) is None:
            return None
        try:
            found = server_auth({key: self._text((*where, key), v) for key, v in self._object(where, given).items()})
        except Misuse as e:
            self._refuse(where, str(e.args[0]).rstrip("."), e.hint)
        if why := header_objection(found.header, found.scheme):
            self._refuse((*where, "header"), why, "Mend or remove it.")
        if any(name.lower() == found.header.lower() for name in entry.get("headers") or {}):
            self._refuse(where, f"'auth' and a header {found.header!r}", "Expected one of them.")
        return found

    def _tls(self, where: jsonc.Path, entry: dict[str, Any], urls: tuple[str, ...]) -> ServerTls | None:
        if (given := entry.get("tls")) is None:
            return None
        values = {key: self._text((*where, key), v) for key, v in self._object(where, given).items()}
        try:
            found = server_tls(
                {key: self._folder((*where, key), v) if key in PATHS else v for key, v in values.items()}
            )
        except Misuse as e:
            self._refuse(where, str(e.args[0]).rstrip("."), e.hint)
        if not all(url.startswith("https://") for url in urls):
            self._refuse(where, "'tls' beside an address without TLS", "Expected https://… as url.")
        return found

    def _url(self, where: jsonc.Path, value: Any) -> str:
        url = self._text(where, value).strip()
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good or re.search(r"[\x00-\x20\x7f\\]", url):
            self._refuse(where, f"'url' is {url[:200]!r}", "Expected http://… or https://… of an MCP endpoint.")
        return url

    def _urls(self, where: jsonc.Path, value: Any) -> tuple[str, ...]:
        """One address, or a list of those of all replicas."""
        if not isinstance(value, list):
            return (self._url(where, value),)
        if not value:
            self._refuse(where, "'url' is an empty list", "Expected the address of each replica.")
        urls = tuple(self._url((*where, n), each) for n, each in enumerate(value))
        if len(set(urls)) < len(urls):
            self._refuse(where, "an address stands twice", "Expected a different address for each replica.")
        return urls

    def _folder(self, where: jsonc.Path, value: Any) -> str:
        if value is None:
            return ""
        folder = Path(self._text(where, value)).expanduser()
        return str(folder if folder.is_absolute() else self.path.absolute().parent / folder)

    def _boolean(self, where: jsonc.Path, value: Any) -> bool:
        if not isinstance(value, bool):
            self._refuse(where, f"{where[-1]!r} is {_kind(value)}", "Expected true or false.")
        return value

    def _object(self, where: jsonc.Path, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            self._refuse(where, f"{where[-1]!r} is {_kind(value)}", "Expected an object.")
        return value

    # --- refusals

    def _meant(self, key: str, known: tuple[str, ...]) -> str:
        close = close_names(key, known, 1)
        return f"Did you mean {close[0]!r}?" if close else f"Expected {', '.join(known)}."

    def _refuse(self, where: jsonc.Path, what: str, hint: str) -> NoReturn:
        key = ".".join(str(part) for part in where)
        at = f"{self.path}, line {self.document.line(where)}" + (f", key {key}" if key else "")
        raise Misuse(f"{at}: {what}.".replace("..", "."), hint=hint)


def _kind(value: Any) -> str:
    """What `value` is, in JSON's words."""
    for kind, name in ((bool, "true or false"), (str, "a text"), (dict, "an object"), (list, "a list")):
        if isinstance(value, kind):
            return name
    return "null" if value is None else "a number"
