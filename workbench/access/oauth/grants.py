"""What people granted to clients, and the codes, refresh tokens and access tokens that stand for it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from pathlib import Path
from typing import Any

from workbench.access.api_keys import fingerprint
from workbench.config import Settings
from workbench.control import ChangeNotice, open_store
from workbench.events import JSON, Record, new_id

CODE_LIFETIME_US = 60_000_000
"""Lifetime of a code: one minute."""
GRANT_LIFETIME_US = 30 * 86_400_000_000
"""After that a person is asked again, however often the tokens were refreshed."""
REFRESH_LIFETIME_US = 14 * 86_400_000_000
"""A refresh token that is not used that long is void."""

_TABLES = """
create table if not exists oauth_grants (
  id text primary key, client text not null, tenant text not null, subject text not null, roles text not null,
  scopes text not null, resources text not null, key_id text not null, created_us integer not null,
  expires_us integer not null, revoked_us integer
) strict;
create table if not exists oauth_codes (
  sha256 text primary key, grant_id text not null, redirect_uri text not null, challenge text not null,
  expires_us integer not null, used_us integer
) strict;
create table if not exists oauth_refresh_tokens (
  sha256 text primary key, grant_id text not null, expires_us integer not null, used_us integer
) strict;
create table if not exists oauth_revoked_tokens (jti text primary key, expires_us integer not null) strict;
"""
_TUPLES = ("roles", "scopes", "resources")


class Grant(Record, frozen=True, kw_only=True):
    """That a client may act for a person, how far, and where."""

    id: str
    client: str
    tenant: str
    subject: str
    roles: tuple[str, ...]
    scopes: tuple[str, ...]
    resources: tuple[str, ...]
    key_id: str
    """The key with which the person agreed; the grant ends with it."""
    created_us: int
    expires_us: int
    revoked_us: int | None = None


class Grants:
    """The grants of one control store. Secrets are stored as their SHA-256 only.

    Args:
        where: settings, or a state folder alone; the store has the table of keys.
    """

    def __init__(self, where: Settings | Path) -> None:
        self.store = open_store(where)
        ended = {"oauth_grants": ChangeNotice("id"), "oauth_revoked_tokens": ChangeNotice("jti", "insert")}
        self.store.prepare("grants", _TABLES, told=ended)

    # --- a person agrees, a client redeems ------------------------------

    def add(
        self,
        *,
        client: str,
        tenant: str,
        subject: str,
        roles: tuple[str, ...],
        scopes: tuple[str, ...],
        resources: tuple[str, ...],
        key_id: str,
        redirect_uri: str,
        challenge: str,
        now_us: int,
    ) -> tuple[Grant, str]:
        """Store what was agreed; the second value is the code for the client."""
        grant = Grant(
            id=new_id(), client=client, tenant=tenant, subject=subject, roles=roles, scopes=scopes,
            resources=resources, key_id=key_id, created_us=now_us, expires_us=now_us + GRANT_LIFETIME_US,
        )  # fmt: skip
        code = secrets.token_urlsafe(32)
        lists = [json.dumps(getattr(grant, name)) for name in _TUPLES]
        self._forget_expired(now_us)
        self.store.change(
            "insert into oauth_grants values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, null)",
            grant.id, client, tenant, subject, *lists, key_id, now_us, grant.expires_us,
        )  # fmt: skip
        self.store.change(
            "insert into oauth_codes values (?, ?, ?, ?, ?, null)",
            fingerprint(code).hex(), grant.id, redirect_uri, challenge, now_us + CODE_LIFETIME_US,
        )  # fmt: skip
        return grant, code

    def redeem_code(self, code: str, *, client: str, redirect_uri: str, verifier: str, now_us: int) -> Grant | None:
        """The grant behind a code, once. A code that comes again ends its grant (RFC 6749 §4.1.2)."""
        mark = fingerprint(code).hex()
        row = self.store.row(
            "select grant_id, redirect_uri, challenge, expires_us, used_us from oauth_codes where sha256 = ?", mark
        )
        if row is None:
            return None
        grant = self.find(row[0])
        if grant is None or grant.client != client:
            return None
        used = "update oauth_codes set used_us = ? where sha256 = ? and used_us is null"
        if self.store.change(used, now_us, mark) != 1:
            self.end(grant.id, now_us)
            return None
        good = now_us < row[3] and redirect_uri == row[1] and hmac.compare_digest(s256(verifier), row[2])
        return grant if good and self.usable(grant, now_us) else None

    def new_refresh_token(self, grant: Grant, now_us: int) -> str:
        """A further refresh token of a grant."""
        token = f"mr_{secrets.token_urlsafe(32)}"
        until = min(now_us + REFRESH_LIFETIME_US, grant.expires_us)
        self.store.change(
            "insert into oauth_refresh_tokens values (?, ?, ?, null)", fingerprint(token).hex(), grant.id, until
        )
        return token

    def redeem_refresh_token(self, token: str, *, client: str, now_us: int) -> Grant | None:
        """The grant behind a refresh token, once.

        One that comes again was stolen, here or before: it ends the grant and with it every token of it (RFC 9700
        §4.14.2).
        """
        grant = self.of_refresh_token(token, now_us, even_used=True)
        if grant is None or grant.client != client:
            return None
        used = "update oauth_refresh_tokens set used_us = ? where sha256 = ? and used_us is null"
        if self.store.change(used, now_us, fingerprint(token).hex()) != 1:
            self.end(grant.id, now_us)
            return None
        return grant if self.usable(grant, now_us) else None

    def of_refresh_token(self, token: str, now_us: int, *, even_used: bool = False) -> Grant | None:
        """The grant that a refresh token stands for; None when the token is unknown, expired or used."""
        row = self.store.row(
            "select grant_id, expires_us, used_us from oauth_refresh_tokens where sha256 = ?", fingerprint(token).hex()
        )
        if row is None or now_us >= row[1] or (row[2] is not None and not even_used):
            return None
        return self.find(row[0])

    # --- what still holds ------------------------------

    def find(self, id: str) -> Grant | None:
        """The grant of this id, ended or not."""
        row = self.store.row(f"select {_COLUMNS} from oauth_grants where id = ?", id)
        return None if row is None else _grant(row)

    def all(self) -> list[Grant]:
        """All grants, oldest first; ended ones too."""
        return [_grant(row) for row in self.store.rows(f"select {_COLUMNS} from oauth_grants order by created_us")]

    def usable(self, grant: Grant, now_us: int) -> bool:
        """Neither grant, nor the key of the person, nor the client was ended."""
        if grant.revoked_us is not None or now_us >= grant.expires_us:
            return False
        key = self.store.row(
            "select 1 from api_keys where id = ? and revoked_us is null and (expires_us is null or expires_us > ?)",
            grant.key_id, now_us,
        )  # fmt: skip
        return key is not None and not self._client_ended(grant.client)

    def live(self, claims: JSON, now_us: int) -> bool:
        """Whether an access token that was issued here still holds."""
        revoked = self.store.row("select 1 from oauth_revoked_tokens where jti = ?", str(claims.get("jti")))
        if revoked is not None:
            return False
        if claims.get("grant") is None:
            return not self._client_ended(str(claims.get("client_id")))
        grant = self.find(str(claims["grant"]))
        return grant is not None and self.usable(grant, now_us)

    def end(self, id: str, now_us: int) -> bool:
        """End a grant and every token of it. False when there is none that was not ended before."""
        ended = "update oauth_grants set revoked_us = ? where id = ? and revoked_us is null"
        return self.store.change(ended, now_us, id) == 1

    def revoke_access_token(self, jti: str, expires_us: int) -> None:
        """Take back one access token."""
        self.store.change("insert into oauth_revoked_tokens values (?, ?) on conflict do nothing", jti, expires_us)

    def close(self) -> None:
        """Let go of the store."""
        self.store.close()

    def _client_ended(self, id: str) -> bool:
        query = "select 1 from oauth_clients where id = ? and revoked_us is not null"
        return self.store.row(query, id) is not None

    def _forget_expired(self, now_us: int) -> None:
        before = now_us - 86_400_000_000
        for table in ("oauth_codes", "oauth_refresh_tokens", "oauth_revoked_tokens", "oauth_grants"):
            self.store.change(f"delete from {table} where expires_us < ?", before)


_COLUMNS = ", ".join(Grant.__struct_fields__)


def _grant(row: tuple[Any, ...]) -> Grant:
    values = dict(zip(Grant.__struct_fields__, row, strict=True))
    for name in _TUPLES:
        values[name] = tuple(json.loads(values[name]))
    return Grant(**values)


def s256(verifier: str) -> str:
    """The challenge to a verifier (RFC 7636 §4.2)."""
    digest = hashlib.sha256(verifier.encode("utf-8", "surrogatepass")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
