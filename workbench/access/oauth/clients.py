"""Clients of the authorization server: made at the command line, registered by themselves, or known by their URL."""

from __future__ import annotations

import hmac
import json
import re
import secrets
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from workbench.access.api_keys import fingerprint, new_key_id
from workbench.access.oauth.redirect_uris import objection
from workbench.access.outbound.fetch import JsonFetcher
from workbench.config import Settings
from workbench.control import ChangeNotice, open_store
from workbench.display_text import all_visible
from workbench.events import JSON, MisuseError, Record, UnreachableError

MAX_REGISTERED = 1000
"""Clients that may have registered themselves; beyond that nobody can until some are ended."""
MAX_REDIRECTS = 10
MAX_DOCUMENT_BYTES = 64 << 10
DOCUMENT_LIFETIME_S = 300.0
MAX_DOCUMENTS = 256

_TABLE = """
create table if not exists oauth_clients (
  id text primary key, kind text not null, name text not null, sha256 text, tenant text not null, roles text not null,
  scopes text not null, redirect_uris text not null, refreshes integer not null, created_us integer not null,
  revoked_us integer
) strict
"""
_TUPLES = ("roles", "scopes", "redirect_uris")
_WORKLOAD = re.compile(r"spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]+)+")
MAX_NAME_LENGTH = 100


class RegisteredClient(Record, frozen=True, kw_only=True):
    """A program that asks for tokens, without its secret."""

    id: str
    kind: Literal["made", "registered", "document", "workload"]
    name: str
    confidential: bool = False
    """Whether it has a secret, or an identity of SPIFFE; only then may it ask for tokens of its own."""
    tenant: str = ""
    """Of its own tokens."""
    roles: tuple[str, ...] = ()
    """Of its own tokens; empty for a client that only acts for people."""
    scopes: tuple[str, ...] = ()
    redirect_uris: tuple[str, ...] = ()
    refreshes: bool = True
    created_us: int = 0
    revoked_us: int | None = None

    @property
    def acts_alone(self) -> bool:
        """Whether it may have tokens of its own (client credentials)."""
        return self.confidential and bool(self.roles or self.scopes)


class ClientStore:
    """The clients of one control store.

    Args:
        where: settings, or a state folder alone.
    """

    def __init__(self, where: Settings | Path) -> None:
        self.store = open_store(where)
        self.store.prepare("clients", _TABLE, told={"oauth_clients": ChangeNotice("id")})

    def add(
        self,
        name: str,
        *,
        tenant: str,
        now_us: int,
        kind: Literal["made", "registered"] = "made",
        confidential: bool = True,
        roles: Collection[str] = (),
        scopes: Collection[str] = (),
        redirect_uris: Collection[str] = (),
        refreshes: bool = True,
        workload: str = "",
    ) -> tuple[RegisteredClient, str]:
        """Make a client; the second value is its secret, which is never shown again (empty for one without).

        Args:
            workload: the SPIFFE ID by which it proves who it is; it is then its id, and there is no secret.

        Raises:
            MisuseError: a client that could do nothing, a redirect URI that is not acceptable, or too many clients.
        """
        if not _presentable(name):
            raise MisuseError(
                f"A client of the name {name!r}.", hint=f"Expected 1 to {MAX_NAME_LENGTH} printable characters."
            )
        if len(redirect_uris) > MAX_REDIRECTS:
            raise MisuseError(f"A client has {len(redirect_uris)} redirect URIs.", hint=f"At most {MAX_REDIRECTS}.")
        if workload and (not _WORKLOAD.fullmatch(workload) or not confidential):
            raise MisuseError(f"A workload has the id {workload[:200]!r}.", hint="Expected spiffe://trust.domain/path.")
        if "*" in scopes:
            raise MisuseError("A client has the scope '*'.", hint="Give it the role owner instead, if that is meant.")
        for uri in redirect_uris:
            if why := objection(uri):
                raise MisuseError(f"Redirect URI {str(uri)[:200]!r} is not acceptable: {why}.")
        if not redirect_uris and not (confidential and (roles or scopes)):
            raise MisuseError(
                "The client could do nothing.", hint="Give it a redirect URI, or roles or scopes of its own."
            )
        client = RegisteredClient(
            id=workload or f"mc_{new_key_id()}", kind="workload" if workload else kind, name=name,
            confidential=confidential, tenant=tenant,
            roles=tuple(roles), scopes=tuple(scopes), redirect_uris=tuple(redirect_uris), refreshes=refreshes,
            created_us=now_us,
        )  # fmt: skip
        secret = secrets.token_urlsafe(32) if confidential and not workload else ""
        row = {name: json.dumps(getattr(client, name)) for name in _TUPLES}
        with self.store.exclusively("clients"):
            if kind == "registered" and self._registered() >= MAX_REGISTERED:
                raise MisuseError("Too many clients have registered.", hint="End some: `workbench access clients`.")
            if workload and self.find(workload) is not None:
                raise MisuseError(f"There is a client {workload} already.", hint="End it first.")
            self.store.change("delete from oauth_clients where id = ?", client.id)  # one that was ended
            self.store.change(
                "insert into oauth_clients values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, null)",
                client.id, client.kind, name, fingerprint(secret).hex() if secret else None, tenant, row["roles"],
                row["scopes"], row["redirect_uris"], int(refreshes), now_us,
            )  # fmt: skip
        return client, secret

    def find(self, id: str) -> RegisteredClient | None:
        """The client of this id, unless it was ended."""
        row = self.store.row(f"{_SELECT} where id = ? and revoked_us is null", id)
        return None if row is None else _client(row)

    def has_secret(self, id: str, secret: str) -> bool:
        """Whether the client of this id has this secret."""
        row = self.store.row("select sha256 from oauth_clients where id = ?", id)
        known = row[0] if row and secret else None
        return bool(known) and hmac.compare_digest(str(known), fingerprint(secret).hex())

    def all(self) -> list[RegisteredClient]:
        """All clients, oldest first; ended ones too."""
        return [_client(row) for row in self.store.rows(f"{_SELECT} order by created_us, id")]

    def end(self, id: str, now_us: int) -> bool:
        """End a client and everything it was granted. False when there is none that was not ended before."""
        ended = "update oauth_clients set revoked_us = ? where id = ? and revoked_us is null"
        return self.store.change(ended, now_us, id) == 1

    def close(self) -> None:
        """Let go of the store."""
        self.store.close()

    def _registered(self) -> int:
        query = "select count(*) from oauth_clients where kind = 'registered' and revoked_us is null"
        return int(self.store.rows(query)[0][0])


_SELECT = (
    "select id, kind, name, sha256 is not null or kind = 'workload', tenant, roles, scopes, redirect_uris, refreshes,"
    " created_us, revoked_us from oauth_clients"
)


def _client(row: tuple[Any, ...]) -> RegisteredClient:
    values = dict(zip(RegisteredClient.__struct_fields__, row, strict=True))
    for name in _TUPLES:
        values[name] = tuple(json.loads(values[name]))
    return RegisteredClient(
        **{**values, "confidential": bool(values["confidential"]), "refreshes": bool(values["refreshes"])}
    )


class ClientMetadataDocuments:
    """Clients that are known by the URL of a document about them (draft-ietf-oauth-client-id-metadata-document).

    Args:
        fetcher: gets the documents; they may come from public addresses over https only.
        ticks: seconds that only grow.
    """

    def __init__(self, fetcher: JsonFetcher, ticks: Any) -> None:
        self._fetcher = fetcher
        self._ticks = ticks
        self._known: dict[str, tuple[RegisteredClient, float]] = {}

    async def find(self, url: str) -> RegisteredClient | None:
        """The client whose document lies at `url`; None when there is no proper one."""
        if not is_document_url(url):
            return None
        known = self._known.get(url)
        if known is not None and self._ticks() < known[1]:
            return known[0]
        try:
            client = document_client(url, await self._fetcher.get(url, most=MAX_DOCUMENT_BYTES))
        except (UnreachableError, MisuseError):
            return None
        if len(self._known) >= MAX_DOCUMENTS:
            self._known.clear()
        self._known[url] = (client, self._ticks() + DOCUMENT_LIFETIME_S)
        return client


def is_document_url(id: str) -> bool:
    """Whether a client id is the URL of a document: https, with a path, nothing odd."""
    try:
        parts = urlsplit(id)
    except ValueError:
        return False
    segments = parts.path.split("/")
    return (
        parts.scheme == "https" and bool(parts.hostname) and parts.path not in ("", "/") and "." not in segments
        and ".." not in segments and "#" not in id and "@" not in parts.netloc and len(id) <= 512
    )  # fmt: skip


def document_client(url: str, document: JSON) -> RegisteredClient:
    """The client that a document describes.

    Raises:
        MisuseError: it is not about this URL, keeps a secret, or has no acceptable redirect URI.
    """
    if document.get("client_id") != url:
        raise MisuseError("The document is about another client.")
    if document.get("token_endpoint_auth_method", "none") != "none" or "client_secret" in document:
        raise MisuseError(
            "The client of a public document can keep no secret.", hint="token_endpoint_auth_method is none."
        )
    name, uris = document.get("client_name"), document.get("redirect_uris")
    if not isinstance(uris, list) or not 0 < len(uris) <= MAX_REDIRECTS or any(objection(uri) for uri in uris):
        raise MisuseError("The document names no acceptable redirect_uris.")
    grants = document.get("grant_types", ["authorization_code"])
    return RegisteredClient(
        id=url,
        kind="document",
        name=name if isinstance(name, str) and _presentable(name) else str(urlsplit(url).hostname),
        redirect_uris=tuple(uris),
        refreshes=isinstance(grants, list) and "refresh_token" in grants,
    )


def _presentable(name: str) -> bool:
    """Whether the page that asks for consent may show `name` of a client."""
    return 0 < len(name) <= MAX_NAME_LENGTH and all_visible(name)
