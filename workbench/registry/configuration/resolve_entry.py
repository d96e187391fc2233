"""From an entry in the one form to the server that is started or reached: variables, paths, credentials."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from workbench.display_text import without_hidden
from workbench.events import MisuseError
from workbench.registry.configuration.client_layouts import described
from workbench.registry.configuration.commands import normal_command, windows_path
from workbench.registry.configuration.entries import ServerEntry
from workbench.registry.configuration.variables import (
    EntryError,
    NoSuchFileError,
    Variables,
    read_env_file,
    read_small_file,
)
from workbench.registry.definitions.name_checks import SET_BY_GATEWAY, header_objection
from workbench.registry.server import ServerSpec
from workbench.registry.server_auth import ServerAuth, server_auth
from workbench.registry.server_tls import PATHS, ServerTls, server_tls
from workbench.secrets import is_reference

_LOOPBACK_ADDRESS = re.compile(r"(?:localhost|127\.\d+\.\d+\.\d+|\[::1\]|0\.0\.0\.0)(?::\d+)?(?:/.*)?")


def resolve(entry: ServerEntry, id: str, variables: Variables) -> ServerSpec:
    """The server that `entry` describes.

    Args:
        entry: in the one form.
        id: its id here.
        variables: fills its variables in.

    Raises:
        EntryError: a part of it cannot be used; says which, and what to do.
    """
    return _Resolving(entry, id, variables).spec()


class _Resolving:
    def __init__(self, entry: ServerEntry, id: str, variables: Variables) -> None:
        self.entry = entry
        self.id = id
        self.variables = variables
        self.notices = entry.notices

    def spec(self) -> ServerSpec:
        entry = self.entry
        common: dict[str, Any] = {
            "id": self.id,
            "title": self._text("title", entry.title, 200),
            "description": self._text("description", entry.description, 2_000),
            "source": str(self.variables.place.path),
            "call_timeout_s": entry.timeout_s,
            "hidden_tools": tuple(map(without_hidden, dict.fromkeys(entry.hidden_tools))),
            "only_tools": None
            if entry.only_tools is None
            else tuple(map(without_hidden, dict.fromkeys(entry.only_tools))),
        }
        if entry.command:
            folder = self._folder()
            env = self._env()
            command = self._command(Path(folder), env.get("PATH"))
            return ServerSpec(
                kind="command", stdio=True, command=command, env=env, cwd=folder, notices=self._notices(), **common
            )
        urls = self._urls()
        return ServerSpec(
            kind="url", url=urls[0], more_urls=urls[1:], sse=entry.sse, headers=self._headers(), auth=self._auth(),
            tls=self._tls(urls), notices=self._notices(), **common,
        )  # fmt: skip

    def _notices(self) -> tuple[str, ...]:
        return tuple(without_hidden(notice) for notice in self.notices)

    def _text(self, key: str, text: str, limit: int) -> str:
        return without_hidden(self._at((key,), lambda: self.variables.fill(without_hidden(text))))[:limit]

    def _at(self, where: tuple[str | int, ...], read: Callable[[], str]) -> str:
        """What `read` returns; an error of it is one of the place `where`."""
        try:
            return read()
        except EntryError as e:
            e.where = e.where or where
            raise

    # --- launched

    def _folder(self) -> str:
        given = self.entry.cwd
        if not given:
            return str(self.variables.project)
        folder = self._at(("cwd",), lambda: self.variables.fill(given))
        if windows_path(folder):
            raise EntryError(
                f"{folder[:120]!r} is a path of Windows", hint="Give a folder of this machine.", where=("cwd",)
            )
        return str(self.variables.path(folder))

    def _command(self, folder: Path, search: str | None) -> tuple[str, ...]:
        words: list[str] = []
        for number, word in enumerate(self.entry.command):
            where: tuple[str | int, ...] = ("args", number - 1) if number else ("command",)
            words.append(self._at(where, lambda w=word, n=number: self.variables.fill(w, deferred=n > 0)))  # type: ignore[misc]
        if any("${secret:" in word for word in words):
            self.notices.append("A secret is on its command line, which other users of this machine can see.")
        path = search if search is not None else self.variables.place.env.get("PATH", os.defpath)
        try:
            return tuple(normal_command(words, folder, path, self.notices))
        except EntryError as e:
            e.where = e.where or ("command",)
            raise

    def _env(self) -> dict[str, str]:
        place, entry = self.variables.place, self.entry
        found: dict[str, str] = {}
        for name in () if place.keep_variables else entry.env_files:
            path = self.variables.path(self._at(("envFile",), lambda n=name: self.variables.fill(n)))  # type: ignore[misc]
            try:
                text = self._at(("envFile",), lambda p=path: read_small_file(p, place.closed))  # type: ignore[misc]
            except NoSuchFileError as e:  # as with its client: the server says itself what it lacks
                self.notices.append(f"envFile: {e.args[0]} It is started without.")
                continue
            for variable, value in read_env_file(text).items():
                if is_reference(value):
                    self._at(("envFile",), lambda v=value: self._checked(v))  # type: ignore[misc]
                if "\0" not in variable + value:
                    found[variable] = value
        for name in () if place.keep_variables else entry.passed_on:
            if name in place.env and not name.upper().startswith("WORKBENCH_"):
                found[name] = place.env[name]
        for name, value in entry.env.items():
            found[name] = self._at(("env", name), lambda v=value: self.variables.fill(v, secrets=True))  # type: ignore[misc]
            if windows_path(found[name]):
                self.notices.append(f"env.{name} has a path of Windows.")
        for name, value in found.items():
            if any("\ud800" <= char <= "\udfff" for char in name + value) or "\0" in name:
                raise EntryError(f"{name[:60]!r} has a character that no program can be given", where=("env",))
        return found

    def _checked(self, value: str) -> str:
        self.variables.check_references(value, allowed=True)
        return value

    # --- reached

    def _urls(self) -> tuple[str, ...]:
        urls = tuple(
            self._at(("url",), lambda u=url: self._url(self.variables.fill(u, deferred=True)))  # type: ignore[misc]
            for url in self.entry.urls
        )
        if not urls:
            raise EntryError("'url' is an empty list", hint="Expected the address of each replica.", where=("url",))
        if len(set(urls)) < len(urls):
            hint = "Expected a different address for each replica."
            raise EntryError("an address stands twice", hint=hint, where=("url",))
        return urls

    def _url(self, text: str) -> str:
        url = text.strip().strip("<>")
        if _LOOPBACK_ADDRESS.fullmatch(url):
            self.notices.append(f"The address {url} was read as http://{url}.")
            url = f"http://{url}"
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good or re.search(r"[\x00-\x20\x7f\\]", url):
            raise EntryError(f"'url' is {url[:200]!r}", hint="Expected http://… or https://… of an MCP endpoint.")
        return url

    def _headers(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, value in self.entry.headers.items():
            text = self._at(("headers", name), lambda v=value: self.variables.fill(v, secrets=True)).strip()  # type: ignore[misc]
            if name.strip().lower() in SET_BY_GATEWAY or name.strip().lower().startswith("mcp-"):
                self.notices.append(f"The header {name.strip()!r} is set by the gateway itself; it was left out.")
            elif why := header_objection(name.strip(), text):
                raise EntryError(why, hint="Correct or remove it.", where=("headers", name))
            else:
                found[name.strip()] = text
        return found

    def _auth(self) -> ServerAuth | None:
        given = self.entry.auth
        if given is None:
            return None
        try:
            auth = server_auth({str(k): self._setting(("auth", str(k)), v) for k, v in given.items()})
        except MisuseError as e:
            raise EntryError(str(e.args[0]).rstrip("."), hint=e.hint, where=("auth",)) from e
        if why := header_objection(auth.header, auth.scheme):
            raise EntryError(why, hint="Correct or remove it.", where=("auth", "header"))
        if any(name.lower() == auth.header.lower() for name in self.entry.headers):
            raise EntryError(f"'auth' and a header {auth.header!r}", hint="Expected one of them.", where=("auth",))
        return auth

    def _tls(self, urls: tuple[str, ...]) -> ServerTls | None:
        given = self.entry.tls
        if given is None:
            return None
        values = {str(key): self._setting(("tls", str(key)), value) for key, value in given.items()}
        try:
            tls = server_tls({k: str(self.variables.path(v)) if k in PATHS else v for k, v in values.items()})
        except MisuseError as e:
            raise EntryError(str(e.args[0]).rstrip("."), hint=e.hint, where=("tls",)) from e
        if not all(url.startswith("https://") for url in urls):
            raise EntryError("'tls' beside an address without TLS", hint="Expected https://… as url.", where=("tls",))
        return tls

    def _setting(self, where: tuple[str | int, ...], value: Any) -> str:
        if not isinstance(value, str):
            raise EntryError(f"{where[-1]!r} is {described(value)}", hint="Expected a text.", where=where)
        return self._at(where, lambda: self.variables.fill(value, secrets=where[0] == "auth"))
