"""What servers offer beside tools: prompts, resources and templates, and who is meant by a name or an address.

Behind the endpoint of all servers a prompt is called `server__name`, see `wire_names`. A resource keeps its address;
where two servers list the same one, both are listed under a longer one, see `addresses`.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from functools import lru_cache
from typing import Final, NamedTuple

from workbench import error_codes
from workbench.display_text import visible
from workbench.endpoint.endpoint_scope import profile_of, server_of
from workbench.endpoint.resource_uris import PAGE, qualified, split
from workbench.events import JSON, Caller, MisuseError, UnreachableError
from workbench.gateway.call import Gateway
from workbench.gateway.extensions import OFFERED, is_extension, owners_of, scopes_of
from workbench.gateway.method_tools import method_tool
from workbench.gateway.wire_names import SEPARATOR
from workbench.registry.connection import Connection, RpcError
from workbench.registry.definitions.definition_texts import visible_definition
from workbench.registry.definitions.tool_names import is_hashed, safe_name, wire_name
from workbench.registry.server import ServerDownError

FRESH_S: Final = 60.0
"""Seconds after which a list is asked for again although nothing was announced."""

ORIGINAL: Final = "workbench/original_name"
"""Key in `_meta` of a listed tool or prompt: what its server calls it, where that is no safe name."""

_LOOKS_SAFE = re.compile(r"_[0-9a-f]{8}$")

MAX_PAGES: Final = 100
MAX_ENTRIES: Final = 10_000


class FeatureKind(NamedTuple):
    """One of the lists that servers have."""

    capability: str
    method: str
    key: str
    """Under which the result has the entries."""
    named_by: str


PROMPTS: Final = FeatureKind("prompts", "prompts/list", "prompts", "name")
RESOURCES: Final = FeatureKind("resources", "resources/list", "resources", "uri")
TEMPLATES: Final = FeatureKind("resources", "resources/templates/list", "resourceTemplates", "uriTemplate")
KINDS: Final = {kind.method: kind for kind in (PROMPTS, RESOURCES, TEMPLATES)}


class AmbiguousNameError(Exception):
    """Several servers have a resource of that address."""


class UnknownOwnerError(Exception):
    """No server has a method of that name, or several have; `code` is for the error."""

    data = None

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class _Known(NamedTuple):
    connection: Connection
    at: float
    entries: list[JSON]


class FeatureCatalog:
    """The lists of all servers, asked for when they are needed and kept until they change.

    Args:
        gateway: whose servers.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._known: dict[tuple[str, FeatureKind], _Known] = {}
        self._asking: dict[tuple[str, FeatureKind], asyncio.Task[list[JSON]]] = {}
        gateway.registry.on_message.append(self._heard)

    # --- what a caller is shown

    def servers(self, caller: Caller, view: str, capability: str) -> list[str]:
        """Ready servers behind an endpoint that have a capability, as far as the caller may read from them."""
        registry, policy = self._gateway.registry, self._gateway.policy
        return sorted(
            state.id
            for state in registry.servers(caller.tenant)
            if self.shows(view, state.id)
            and capability in self._capabilities(state.id)
            and policy.visible(caller, method_tool(state.id, "resources/read"))
        )

    def shows(self, view: str, server: str) -> bool:
        """Whether what a server has beside tools is behind an endpoint."""
        if name := profile_of(view):
            profile = self._gateway.profiles.find(name)
            return profile is not None and profile.offers(server)
        return view in ("", server)

    def capabilities(self, caller: Caller, view: str) -> JSON:
        """What the servers behind an endpoint can do for this caller, beside tools."""
        found: JSON = {"tools": {"listChanged": True}}
        if self.servers(caller, view, "prompts"):
            found["prompts"] = {"listChanged": True}
        if self.servers(caller, view, "resources"):
            found["resources"] = {"listChanged": True}
            if any(self._can_subscribe(id) for id in self.servers(caller, view, "resources")):
                found["resources"]["subscribe"] = True
        if self.servers(caller, view, "logging"):
            found["logging"] = {}
        for key in OFFERED:
            offers = [self._capabilities(id)[key] for id in self.servers(caller, view, key)]
            merged: JSON = {}
            for offer in offers:
                merged = {**offer, **merged} if isinstance(offer, dict) else merged
            if merged:
                found[key] = merged
        if self.servers(caller, view, "completions"):
            found["completions"] = {}
        return self._gateway.outbound.prose(found, caller.tenant)

    async def listed(self, caller: Caller, view: str, kind: FeatureKind) -> list[JSON]:
        """The entries of one kind that a caller sees, in a stable order, under the names that are understood here."""
        servers = self.servers(caller, view, kind.capability)
        lists = dict(zip(servers, await asyncio.gather(*(self.of(id, kind) for id in servers)), strict=True))
        if kind is PROMPTS:
            return [self._named(entry, id, view) for id, entries in lists.items() for entry in entries]
        if server_of(view):
            return [entry for entries in lists.values() for entry in entries]
        twice = await self._twice(kind, caller.tenant, view)
        key = kind.named_by
        return [
            {**entry, key: qualified(id, entry[key])} if entry[key] in twice or entry[key].startswith(PAGE) else entry
            for id, entries in lists.items()
            for entry in entries
        ]

    def _named(self, prompt: JSON, server: str, view: str) -> JSON:
        """A prompt under the name by which it is asked for at an endpoint; a changed one keeps the original."""
        original = prompt["name"]
        safe = safe_name(original)
        name = safe if server_of(view) else self._gateway.wire_names.of_prompt(server, safe)
        if safe == original:
            return {**prompt, "name": name}
        meta = {**(prompt.get("_meta") or {}), ORIGINAL: visible(original)}
        return {**prompt, "name": name, "title": prompt.get("title") or visible(original), "_meta": meta}

    async def prompt(self, name: str, tenant: str, view: str = "") -> tuple[str, str]:
        """The server that is meant by the name of a prompt, and its own name there; an empty server when none is.

        Args:
            name: as it is listed at the endpoint, `server.name`, or what the server calls it.
            tenant: of the caller.
            view: the endpoint.
        """
        if server := server_of(view):
            return server, await self._original(server, name)
        server, dot, own = name.partition(".")
        if dot and self.knows(server, tenant):
            return server, await self._original(server, own)
        for server in self._having(PROMPTS, tenant, view):
            if name.startswith(f"{server}{SEPARATOR}"):
                for entry in await self.of(server, PROMPTS):
                    if wire_name(server, safe_name(entry["name"])) == name:
                        return server, entry["name"]
        server, _, own = name.partition(SEPARATOR)
        known = own and not is_hashed(name) and self.knows(server, tenant)
        return (server, own) if known else ("", name)

    async def _original(self, server: str, name: str) -> str:
        """What a server calls the prompt that has a safe name."""
        names = [entry["name"] for entry in await self.of(server, PROMPTS)] if _LOOKS_SAFE.search(name) else []
        return name if name in names else next((own for own in names if safe_name(own) == name), name)

    async def owner(self, uri: str, tenant: str, view: str = "") -> tuple[str, str]:
        """The server that has a resource, or a template of that text, and its own address there; empty when none does.

        Only servers that exist for `tenant` and are behind the endpoint are looked at.

        Raises:
            Ambiguous: several have.
        """
        if (named_in := split(uri)) is not None:
            return named_in
        for kind in (RESOURCES, TEMPLATES):
            found = []
            for server in self._having(kind, tenant, view):
                named = [entry[kind.named_by] for entry in await self.of(server, kind)]
                if uri in named or (kind is TEMPLATES and any(_pattern(name).fullmatch(uri) for name in named)):
                    found.append(server)
            if len(found) > 1:
                told = " or ".join(qualified(server, uri) for server in found)
                raise AmbiguousNameError(f"Several servers have {uri[:500]!r}; say {told}.")
            if found:
                return found[0], uri
        return "", uri

    def method(self, caller: Caller, view: str, method: str) -> str:
        """The qualified name of a method of an extension.

        Behind the endpoint of one server it is that server's. Else `server.` before it says whose it is; without, it is
        that of the server which declares the extension.

        Raises:
            Ownerless: no server does, or several do.
        """
        if server := server_of(view):
            return f"{server}.{method}"
        registry, policy = self._gateway.registry, self._gateway.policy
        ids = [state.id for state in registry.servers(caller.tenant) if self.shows(view, state.id)]
        first, _, rest = method.partition(".")
        if first in ids and is_extension(rest):
            return method
        owners = owners_of(method, ((id, self._capabilities(id)) for id in ids))
        if len(owners) > 1:
            allowed = [
                id for id in owners if policy.visible(caller, method_tool(id, method, scopes_of(registry, id, method)))
            ]
            owners = allowed or owners
        if len(owners) == 1:
            return f"{owners[0]}.{method}"
        if owners:
            told = " or ".join(f"{id}.{method}" for id in owners)
            raise UnknownOwnerError(
                f"Several servers have the method {method!r}; say {told}.", error_codes.INVALID_REQUEST
            )
        told = f"There is no method {method[:100]!r} here; `server.` before it says which server is meant."
        raise UnknownOwnerError(told, error_codes.METHOD_NOT_FOUND)

    def knows(self, server: str, tenant: str) -> bool:
        """Whether there is a server of that id, as far as callers of `tenant` may know."""
        return self._gateway.registry.exists(server, tenant)

    # --- what servers list

    async def of(self, server: str, kind: FeatureKind) -> list[JSON]:
        """What one server lists; what it last listed while it cannot be asked."""
        known = self._known.get((server, kind))
        try:
            connection = self._gateway.registry.connection(server)
        except (MisuseError, ServerDownError):
            return known.entries if known else []
        if known and known.connection is connection and time.monotonic() - known.at < FRESH_S:
            return known.entries
        # one question for all who want to know at the same time
        asking = self._asking.get((server, kind))
        if asking is None:
            asking = asyncio.get_running_loop().create_task(self._ask(server, kind, connection))
            self._asking[server, kind] = asking
            asking.add_done_callback(lambda done: self._answered(server, kind, done))
        return await asyncio.shield(asking)

    async def _ask(self, server: str, kind: FeatureKind, connection: Connection) -> list[JSON]:
        known = self._known.get((server, kind))
        try:
            entries = await _pages(kind, connection, self._gateway.settings.call_timeout)
        except RpcError:
            entries = []  # it has no such list
        except (UnreachableError, TimeoutError):
            entries = known.entries if known else []
        self._known[server, kind] = _Known(connection, time.monotonic(), entries)
        return entries

    def _answered(self, server: str, kind: FeatureKind, done: asyncio.Task[list[JSON]]) -> None:
        if self._asking.get((server, kind)) is done:
            del self._asking[server, kind]

    async def _twice(self, kind: FeatureKind, tenant: str, view: str) -> set[str]:
        lists = await asyncio.gather(*(self.of(server, kind) for server in self._having(kind, tenant, view)))
        counted = Counter(name for entries in lists for name in {entry[kind.named_by] for entry in entries})
        return {name for name, times in counted.items() if times > 1}

    def _having(self, kind: FeatureKind, tenant: str, view: str) -> list[str]:
        # a server that is down keeps its addresses: they must not fall to another one meanwhile
        known = {server for server, of in self._known if of is kind}
        states = [s for s in self._gateway.registry.servers(tenant) if self.shows(view, s.id)]
        return sorted(s.id for s in states if s.id in known or kind.capability in self._capabilities(s.id))

    def _capabilities(self, server: str) -> JSON:
        try:
            return self._gateway.registry.connection(server).capabilities
        except (MisuseError, ServerDownError):
            return {}

    def _can_subscribe(self, server: str) -> bool:
        offer = self._capabilities(server).get("resources")
        return isinstance(offer, dict) and offer.get("subscribe") is True

    def _heard(self, server: str, message: JSON) -> None:
        """Forget what a server says has changed."""
        for key in [key for key in self._known if key[0] == server]:
            if message.get("method") == f"notifications/{key[1].capability}/list_changed":
                known = self._known[key]
                self._known[key] = known._replace(at=-FRESH_S)
                self._asking.pop(key, None)


async def _pages(kind: FeatureKind, connection: Connection, timeout: float) -> list[JSON]:
    entries: dict[str, JSON] = {}
    params: JSON = {}
    for _ in range(MAX_PAGES):
        page = await connection.request(kind.method, params, timeout=timeout)
        found = page.get(kind.key)
        for entry in found if isinstance(found, list) else ():
            if isinstance(entry, dict) and isinstance(entry.get(kind.named_by), str):
                entries.setdefault(entry[kind.named_by], _shown(entry, kind))
        cursor = page.get("nextCursor")
        if not isinstance(cursor, str) or not cursor or len(entries) > MAX_ENTRIES:
            break
        params = {"cursor": cursor}
    return [entries[name] for name in sorted(entries)][:MAX_ENTRIES]


def _shown(entry: JSON, kind: FeatureKind) -> JSON:
    """An entry with hidden characters written out, except in what it is asked for by."""
    shown: JSON = visible_definition(entry)
    if kind.named_by != "name" and isinstance(name := entry.get("name"), str):
        shown["name"] = visible(name)
    return shown


@lru_cache(1024)
def _pattern(template: str) -> re.Pattern[str]:
    """What the expressions of a URI template can become (RFC 6570), each as short as what follows allows.

    Only the last one may be tried in several lengths: a template comes from a server and an address from a caller, and
    trying all combinations would take them as long as they like.
    """
    first, *rest = re.split(r"\{([^{}]*)\}", template[:2048])
    expressions = list(zip(rest[::2], rest[1::2], strict=True))
    found = re.escape(first)
    for number, (name, after) in enumerate(expressions, 1):
        wide = name[:1] in ("+", "#", "/", "?", "&", ";", ".") or name.endswith("*")
        one = (".*?" if wide else "[^/?#]+?") + re.escape(after)
        found += one if number == len(expressions) else f"(?>{one})"
    return re.compile(found, re.DOTALL)
