"""One entry of a configuration, whoever wrote it, in one form. Variables stand in it as they were written."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from workbench.registry.configuration.client_layouts import ADDRESS_KEYS, LAUNCH_KEYS, described, folded
from workbench.registry.configuration.commands import split
from workbench.registry.configuration.variables import EntryError
from workbench.registry.server_auth import KEYS as AUTH_TYPES

MIN_TIMEOUT_S: Final = 1.0
MAX_TIMEOUT_S: Final = 3600.0
"""Bounds of what a file may say about the time that calls get."""
MAX_ENTRY_TIMEOUT_S: Final = 3600.0
"""Where a client's unit is not known, a larger number counts milliseconds: no client lets people wait an hour."""

_IN_SECONDS = ("Cline", "Roo", "Goose", "Codex", "Crush", "Cherry Studio")
_IN_MILLISECONDS = ("Gemini CLI", "Amazon Q", "Kiro", "Copilot CLI", "LibreChat", "opencode", "Claude Code")

_TYPES: Final = {
    **dict.fromkeys(("stdio", "local", "command", "process", "studio", "executable"), "command"),
    **dict.fromkeys(("http", "https", "streamablehttp", "httpstream", "streamhttp", "httpstreamable", "streaminghttp",
                     "streamable", "remote", "url", "mcp", "web"), "url"),
    **dict.fromkeys(("sse", "httpsse", "serversentevents", "legacysse"), "sse"),
}  # fmt: skip
_ELSEWHERE: Final = {
    "builtin": "is part of its client",
    "platform": "is part of its client",
    "inmemory": "is part of its client",
    "frontend": "is part of its client",
    "sdk": "runs inside of its client",
    "extension": "is an extension of the editor",
    "inlinepython": "is a script inside of the file",
    "websocket": "speaks over a WebSocket",
    "ws": "speaks over a WebSocket",
    "wss": "speaks over a WebSocket",
}
_TYPE_KEYS = ("type", "transport", "transportType", "transport_type", "protocol", "connectionType")
_TITLE_KEYS = ("title", "display_name", "displayName", "name", "label")
_HIDING = ("disabledTools", "disabled_tools", "excludeTools", "exclude_tools", "excludedTools", "disallowedTools")
_SHOWING = ("includeTools", "include_tools", "enabledTools", "enabled_tools", "allowedTools", "allowed_tools",
            "available_tools", "availableTools")  # fmt: skip
_APPROVING = ("autoApprove", "alwaysAllow", "auto_approve", "always_allow", "trust", "autoApproved", "autoApproveAll",
              "disabledAutoApproveTools", "default_tools_approval_mode")  # fmt: skip
_SIGN_IN = ("oauth", "headersHelper", "authProviderType", "oauthScopes", "oauth_resource", "authorization_token")


@dataclass
class ServerEntry:
    """How one server is to be reached, in one form for all clients."""

    title: str = ""
    description: str = ""
    command: list[Any] = field(default_factory=list)
    """Program and arguments; empty for a server that has an address."""
    env: dict[str, str] = field(default_factory=dict)
    env_files: list[str] = field(default_factory=list)
    passed_on: list[str] = field(default_factory=list)
    """Names of variables that the server gets from our environment, where they are set."""
    cwd: str = ""
    urls: list[str] = field(default_factory=list)
    sse: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    auth: dict[str, Any] | None = None
    tls: dict[str, Any] | None = None
    timeout_s: float = 0.0
    """Longest time of a call, in seconds; 0: as for all servers."""
    hidden_tools: list[str] = field(default_factory=list)
    only_tools: list[str] | None = None
    switched_off: str = ""
    """Why it is not to run; empty if it is."""
    notices: list[str] = field(default_factory=list)
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)


def shape(entry: Any, name: str, client: str) -> ServerEntry:
    """The entry of one server in the one form.

    Raises:
        EntryError: what it means is not certain, or cannot be done here.
    """
    if not isinstance(entry, dict):
        raise EntryError(f"{name!r} is {described(entry)}", hint="Expected an object with 'command' or 'url'.")
    return _Shaping(entry, name, client).made()


class _Shaping:
    """Takes the keys of an entry one after the other; what is left at the end has no meaning here."""

    def __init__(self, entry: dict[str, Any], name: str, client: str) -> None:
        self.left = dict(entry)
        self.client = client
        self.made_of = name
        self.entry = ServerEntry()

    def made(self) -> ServerEntry:
        entry = self.entry
        self._unfold()
        entry.switched_off = self._switched_off()
        entry.title = self._title()
        description = self.left.pop("description", "")
        entry.description = description if isinstance(description, str) else ""
        kind = self._kind()
        self._filters()
        self._hints()
        self._timeouts()
        if kind == "command":
            self._launched()
        else:
            self._reached(kind)
        if unknown := [str(key)[:60] for key in self.left if key not in ("$schema",)]:
            entry.notices.append(f"Not used here: {', '.join(unknown[:20])}{', …' if unknown[20:] else ''}.")
        return entry

    def _unfold(self) -> None:
        """Bring what some clients nest to the top: Zed's `command`, Continue's `transport`, settings of registries."""
        for key in ("transport", "command", "config", "mcp_config", "server"):
            inner = self.left.get(key)
            if isinstance(inner, dict):
                del self.left[key]
                if key == "command":
                    inner = {"command" if k in ("path", "command") else k: v for k, v in inner.items()}
                self.left |= {k: v for k, v in inner.items() if k not in self.left}
        options = self.left.pop("requestOptions", None)
        if isinstance(options, dict):
            self.left |= {k: v for k, v in options.items() if k not in self.left}
        for key in (*LAUNCH_KEYS, *ADDRESS_KEYS, *_TYPE_KEYS):
            # exports write every key, with nothing in those that do not apply
            if key in self.left and self.left[key] in (None, "", []):
                del self.left[key]

    def _title(self) -> str:
        given = [self.left.pop(key, None) for key in _TITLE_KEYS]
        return next((text for text in given if isinstance(text, str) and text.strip()), self.made_of)

    # --- whether it runs, and how

    def _switched_off(self) -> str:
        for key, means_off in (
            ("disabled", True), ("enabled", False), ("isActive", False), ("is_active", False), ("active", False),
            ("isEnabled", False), ("state", False),
        ):  # fmt: skip
            if key not in self.left:
                continue
            value = self.left.pop(key)
            if value is not None and self._truth(key, value) == means_off:
                return f"{key!r} is {json.dumps(value)} in its configuration"
        return ""

    def _truth(self, key: str, value: Any) -> bool:
        known = {"true": True, "yes": True, "on": True, "1": True, "enabled": True, "false": False, "no": False,
                 "off": False, "0": False, "": False, "disabled": False}  # fmt: skip
        if isinstance(value, bool):
            return value
        if isinstance(value, str | int) and str(value).strip().lower() in known:
            self.entry.notices.append(f"{key!r} is {json.dumps(value)}, read as true or false.")
            return known[str(value).strip().lower()]
        raise EntryError(f"{key!r} is {described(value)}", hint="Expected true or false.", where=(key,))

    def _kind(self) -> str:
        """`command`, `url` or `sse`: by which keys there are, and where both are there by the type."""
        launch, address = self._present(LAUNCH_KEYS), self._present((*ADDRESS_KEYS, "serverUrls"))
        said = ""
        for key in _TYPE_KEYS:
            value = self.left.pop(key, None)
            if value is None or said:
                continue
            if not isinstance(value, str):
                raise EntryError(f"{key!r} is {described(value)}", hint="Expected stdio, http or sse.", where=(key,))
            said = folded(value)
            if said in _ELSEWHERE and not (launch or address):
                raise EntryError(
                    f"its type is {value!r}: it {_ELSEWHERE[said]}",
                    hint="It can be used in that client alone.",
                    where=(key,),
                )
            if said not in _TYPES:
                if not launch and not address:
                    raise EntryError(f"{key!r} is {value[:80]!r}", hint="Expected stdio, http or sse.", where=(key,))
                self.entry.notices.append(f"{key} {value[:80]!r} is not known; the other keys say what it is.")
        kind = _TYPES.get(said, "")
        if launch and address:
            if not kind:
                raise EntryError(
                    f"it has both {launch!r} and {address!r}", hint="Say which counts: type stdio or http."
                )
            unused = address if kind == "command" else launch
            self.entry.notices.append(f"{unused!r} is not used, as its type says.")
            self.left.pop(unused)
            return kind
        if not launch and not address:
            close = next(
                (key for key in self.left if key.lower() in ("comand", "commands", "cmdline", "exec", "program")), ""
            )
            hint = f"Did you mean 'command' instead of {close!r}?" if close else "Expected one of them."
            if "image" in self.left:
                hint = "Expected a command, such as docker run -i --rm IMAGE."
            raise EntryError("it has neither 'command' nor 'url'", hint=hint)
        found = "command" if launch else ("sse" if kind == "sse" or address == "sseUrl" else "url")
        if kind and (kind == "command") != (found == "command"):
            self.entry.notices.append(f"Its type {said!r} does not go with {launch or address!r}, which counts.")
        return found

    def _present(self, keys: tuple[str, ...]) -> str:
        return next((key for key in keys if key in self.left), "")

    # --- a server that is launched

    def _launched(self) -> None:
        entry = self.entry
        key = self._present(LAUNCH_KEYS)
        command = self.left.pop(key)
        if isinstance(command, list):
            words = [self._word((key, n), word) for n, word in enumerate(command)]
        elif isinstance(command, str):
            words = [command]
        else:
            raise EntryError(f"{key!r} is {described(command)}", hint="Expected a text.", where=(key,))
        entry.command = [*words, *self._args()]
        entry.env = self._env()
        for key in ("envFile", "env_file", "envFiles", "dotenv"):
            entry.env_files += self._texts(key)
        for key in ("env_vars", "env_keys", "envVars"):
            entry.passed_on += self._names(key)
        for key in ("cwd", "workingDirectory", "working_directory", "workdir", "workDir", "directory"):
            value = self.left.pop(key, None)
            if value is not None and not isinstance(value, str):
                raise EntryError(f"{key!r} is {described(value)}", hint="Expected the path of a folder.", where=(key,))
            entry.cwd = entry.cwd or str(value or "")
        if headers := self.left.pop("headers", None):
            entry.notices.append(
                f"{len(headers) if isinstance(headers, dict) else 'Some'} headers are not used: it is launched."
            )

    def _word(self, where: tuple[str | int, ...], value: Any) -> str:
        if isinstance(value, str):
            return value
        if isinstance(value, bool | int | float):
            text = _number_text(value)
            self.entry.notices.append(f"{'.'.join(map(str, where))}: {described(value)} became the text {text[:40]!r}.")
            return text
        if isinstance(value, dict | list):
            self.entry.notices.append(f"{'.'.join(map(str, where))}: {described(value)} became JSON text.")
            return json.dumps(value)
        raise EntryError(f"{where[-1]!r} is {described(value)}", hint="Expected a text.", where=where)

    def _args(self) -> list[str]:
        key = "args" if "args" in self.left else "arguments"
        value = self.left.pop(key, None)
        if value is None:
            return []
        if isinstance(value, str):
            self.entry.notices.append(f"{key!r} was one text, and was split.")
            return split(value) if value.strip() else []
        if not isinstance(value, list):
            raise EntryError(f"{key!r} is {described(value)}", hint="Expected a list of texts.", where=(key,))
        words: list[str] = []
        for number, word in enumerate(value):
            if word is None:
                self.entry.notices.append(f"{key}.{number} is null and was left out.")
            elif isinstance(word, list):
                self.entry.notices.append(f"{key}.{number} is a list; its items are arguments.")
                words += [self._word((key, number, n), inner) for n, inner in enumerate(word) if inner is not None]
            else:
                words.append(self._word((key, number), word))
        return words

    def _env(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for key in ("env", "environment", "envs", "environmentVariables"):
            for name, value in self._pairs(key).items():
                if not name or "=" in name or "\0" in name:
                    self.entry.notices.append(f"{key}.{name[:60]}: no variable can have that name; it was left out.")
                elif value is None:
                    self.entry.notices.append(f"{key}.{name[:60]} is null and was left out.")
                else:
                    found[name] = self._word((key, name), value)
        return found

    def _pairs(self, key: str) -> dict[str, Any]:
        """An object, or a list of `NAME=value` or of objects with name and value."""
        value = self.left.pop(key, None)
        if value is None:
            return {}
        if isinstance(value, dict):
            return {str(name): inner for name, inner in value.items()}
        if isinstance(value, str):
            value = [line for line in value.splitlines() if line.strip()]
        if not isinstance(value, list):
            raise EntryError(f"{key!r} is {described(value)}", hint="Expected an object of texts.", where=(key,))
        found: dict[str, Any] = {}
        for number, one in enumerate(value):
            if isinstance(one, str) and re.search("[=:]", one):
                name, _, text = one.partition("=" if "=" in one else ":")
                found[name.strip()] = text.strip()
            elif isinstance(one, dict) and isinstance(named := one.get("name", one.get("key")), str):
                found[named] = one.get("value")
            else:
                raise EntryError(
                    f"{key}.{number} is {described(one)}", hint="Expected NAME=value.", where=(key, number)
                )
        return found

    def _texts(self, key: str) -> list[str]:
        value = self.left.pop(key, None)
        if value in (None, "", []):
            return []
        texts = value if isinstance(value, list) else [value]
        if not all(isinstance(text, str) for text in texts):
            raise EntryError(
                f"{key!r} is {described(value)}", hint="Expected a text, or a list of texts.", where=(key,)
            )
        return list(texts)

    def _names(self, key: str) -> list[str]:
        value = self.left.pop(key, None)
        listed = value if isinstance(value, list) else [] if value is None else [value]
        names = [one.get("name") if isinstance(one, dict) else one for one in listed]
        if not all(isinstance(name, str) for name in names):
            raise EntryError(f"{key!r} is {described(value)}", hint="Expected names of variables.", where=(key,))
        return [str(name) for name in names]

    # --- a server that has an address

    def _reached(self, kind: str) -> None:
        entry = self.entry
        entry.sse = kind == "sse"
        key = self._present((*ADDRESS_KEYS, "serverUrls"))
        value = self.left.pop(key)
        entry.urls = value if isinstance(value, list) else [value]
        if not all(isinstance(url, str) for url in entry.urls):
            raise EntryError(f"{key!r} is {described(value)}", hint="Expected http://… or https://….", where=(key,))
        for more in ADDRESS_KEYS:
            if (other := self.left.pop(more, None)) and [other] != entry.urls:
                entry.notices.append(f"{more!r} is not used beside {key!r}.")
        for name in ("headers", "http_headers", "httpHeaders", "customHeaders", "header"):
            for header, text in self._pairs(name).items():
                if text is None:
                    entry.notices.append(f"{name}.{header[:60]} is null and was left out.")
                else:
                    entry.headers[header] = self._word((name, header), text)
        for header, variable in self._pairs("env_http_headers").items():
            entry.headers[header] = f"${{env:{variable}}}"
        if isinstance(token := self.left.pop("bearer_token_env_var", None), str) and token:
            entry.headers["Authorization"] = f"Bearer ${{env:{token}}}"
        for name in ("bearerToken", "bearer_token", "authToken", "accessToken"):
            if isinstance(token := self.left.pop(name, None), str) and token:
                entry.headers.setdefault("Authorization", f"Bearer {token}")
        self._credentials()
        if env := self._env():
            entry.notices.append(f"Variables are not used: nothing is launched ({', '.join(sorted(env)[:10])}).")
        for name in ("args", "arguments", "cwd", "envFile"):
            if self.left.pop(name, None):
                entry.notices.append(f"{name!r} is not used: nothing is launched.")

    def _credentials(self) -> None:
        entry = self.entry
        auth, tls = self.left.pop("auth", None), self.left.pop("tls", None)
        if isinstance(auth, dict) and (auth.get("type") in [*AUTH_TYPES] or set(auth) & {"client_id", "client_secret"}):
            entry.auth = auth
        elif isinstance(auth, dict) and isinstance(token := auth.get("token"), str) and token:
            entry.headers.setdefault("Authorization", f"Bearer {token}")
        elif auth not in (None, False, "", {}, "none", []):
            if isinstance(auth, Mapping) and isinstance(auth.get("type"), str) and "_" in auth["type"]:
                entry.auth = dict(auth)  # meant for us, and refused with what is expected
            else:
                self._not_signed_in("auth")
        if tls is not None:
            if not isinstance(tls, dict):
                raise EntryError(f"'tls' is {described(tls)}", hint="Expected an object.", where=("tls",))
            entry.tls = tls
        for key in _SIGN_IN:
            if self.left.pop(key, None):
                self._not_signed_in(key)

    def _not_signed_in(self, key: str) -> None:
        what = "is no program to run here" if key == "headersHelper" else "needs a browser, which the gateway has not"
        self.entry.notices.append(f"{key!r} {what}: if the server asks for a credential, give it in headers or auth.")

    # --- for both

    def _filters(self) -> None:
        entry = self.entry
        for key in _HIDING:
            entry.hidden_tools += self._tool_names(key, self.left.pop(key, None)) or []
        for key in _SHOWING:
            if (names := self._tool_names(key, self.left.pop(key, None))) is not None:
                if not names and self.client == "Goose":
                    continue
                entry.only_tools = [*(entry.only_tools or []), *names]
        tools = self.left.pop("tools", None)
        if isinstance(tools, dict):
            self._tool_table(tools)
        elif (names := self._tool_names("tools", tools)) is not None:
            entry.only_tools = [*(entry.only_tools or []), *names]
        if entry.only_tools is not None and any(name in ("*", "all") for name in entry.only_tools):
            entry.only_tools = None
        if entry.only_tools is not None:
            names = entry.only_tools
            entry.notices.append(f"Only these tools are offered: {_few(names) or 'none'}.")
        if entry.hidden_tools:
            entry.notices.append(f"These tools are hidden: {_few(entry.hidden_tools)}.")

    def _tool_table(self, tools: dict[str, Any]) -> None:
        for key in ("exclude", "disabled", "deny"):
            if isinstance(listed := tools.get(key), list):
                self.entry.hidden_tools += self._tool_names(f"tools.{key}", listed) or []
        for key in ("include", "enabled", "allow"):
            if isinstance(listed := tools.get(key), list):
                self.entry.only_tools = [*(self.entry.only_tools or []), *(self._tool_names(key, listed) or [])]
        for name, state in tools.items():
            off = state is False or (
                isinstance(state, dict)
                and (state.get("disabled") is True or state.get("enabled") is False or state.get("hidden") is True)
            )
            if off:
                self.entry.hidden_tools.append(str(name))

    def _tool_names(self, key: str, value: Any) -> list[str] | None:
        if value is None or value is False:
            return None
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list):
            raise EntryError(f"{key!r} is {described(value)}", hint="Expected a list of names of tools.", where=(key,))
        names = [one.get("name") if isinstance(one, dict) else one for one in names]
        if not all(isinstance(name, str) for name in names):
            raise EntryError(f"{key!r} holds what is no name", hint="Expected a list of names of tools.", where=(key,))
        return [str(name).partition("(")[0].strip() for name in names]

    def _hints(self) -> None:
        """What lets a client skip its question to the user: shown, and without effect on what is permitted."""
        for key in _APPROVING:
            value = self.left.pop(key, None)
            if value in (None, False, [], ""):
                continue
            named = (
                _few([str(one) for one in value]) if isinstance(value, list) else json.dumps(value, default=str)[:80]
            )
            self.entry.notices.append(f"{key} ({named}) is a hint to look at and permits nothing: the rules decide.")

    def _timeouts(self) -> None:
        entry = self.entry
        for key, unit in (
            ("timeout", 0.0), ("toolTimeout", 0.0), ("callTimeout", 0.0), ("request_timeout", 0.0),
            ("requestTimeout", 0.0), ("tool_timeout_sec", 1.0), ("timeout_seconds", 1.0), ("timeoutSeconds", 1.0),
            ("timeoutMs", 0.001), ("timeout_ms", 0.001),
        ):  # fmt: skip
            value = self.left.pop(key, None)
            if value is None or value == 0:
                continue
            if self.client == "opencode" and key == "timeout":
                entry.notices.append("timeout is opencode's for listing tools, and not used.")
                continue
            seconds = self._seconds(key, value, unit)
            if seconds:
                entry.timeout_s = entry.timeout_s or seconds

    def _seconds(self, key: str, value: Any, unit: float) -> float:
        try:
            number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if not (0 < number < math.inf):
            self.entry.notices.append(f"{key} is {described(value)} of no use, and counts as not given.")
            return 0.0
        if not unit:
            thousandths = self.client in _IN_MILLISECONDS or (
                self.client not in _IN_SECONDS and number > MAX_ENTRY_TIMEOUT_S
            )
            unit = 0.001 if thousandths else 1.0
        seconds = min(max(number * unit, MIN_TIMEOUT_S), MAX_TIMEOUT_S)
        self.entry.notices.append(f"Calls may take {seconds:g} s, as {key} {value} says.")
        return seconds


def _few(names: list[str]) -> str:
    return ", ".join(name[:80] for name in names[:20]) + (", …" if names[20:] else "")


def _number_text(value: bool | int | float) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and math.isfinite(value) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    try:
        return str(value)
    except ValueError:  # more digits than Python writes out
        return hex(int(value))
