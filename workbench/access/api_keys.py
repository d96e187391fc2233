"""API keys: `mk_<id>_<secret>`, shown once, kept only as their SHA-256, revocable at once in every process.

The secret has 256 random bits, so a plain hash is enough: there is nothing to guess, and a slow hash would only make
every call slower (RFC 6819 §5.1.4.1.3 asks for salts and slow hashes where secrets have low entropy).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from workbench.access.local_user import read_private, user_name, write_private
from workbench.access.roles import OWNER
from workbench.config import Settings
from workbench.control import ChangeNotice, open_store
from workbench.events import Record

TOKEN = re.compile(r"mk_([a-z0-9]{12})_[A-Za-z0-9_-]{43}")

_TABLE = """
create table if not exists api_keys (
  id text primary key, sha256 text not null, tenant text not null, subject text not null, roles text not null,
  scopes text not null, created_us integer not null, expires_us integer, revoked_us integer, note text not null,
  rate_per_minute integer
) strict
"""
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


class KeyInfo(Record, frozen=True, kw_only=True):
    """A key as it may be shown: everything but the secret."""

    id: str
    tenant: str
    subject: str
    roles: tuple[str, ...]
    scopes: tuple[str, ...]
    """Narrow what the roles grant; without roles they are all that the key grants; empty with roles means all of it."""
    created_us: int
    expires_us: int | None = None
    revoked_us: int | None = None
    note: str = ""
    rate_per_minute: int | None = None
    """Calls per minute of its holder; None means what the settings say."""

    def usable(self, now_us: int) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_us is None and (self.expires_us is None or now_us < self.expires_us)


class ApiKeys:
    """The keys of one control store.

    Args:
        where: settings, or a state folder alone.
    """

    def __init__(self, where: Settings | Path) -> None:
        self.store = open_store(where)
        self.store.prepare(
            "keys", _TABLE, added=[("api_keys", "rate_per_minute integer")], told={"api_keys": ChangeNotice("id")}
        )

    def add(self, info: KeyInfo) -> str:
        """Store a key under `info.id` and return its token, the only time it exists in clear."""
        token = f"mk_{info.id}_{secrets.token_urlsafe(32)}"
        self.store.change(
            "insert into api_keys values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            info.id,
            fingerprint(token).hex(),
            info.tenant,
            info.subject,
            json.dumps(info.roles),
            json.dumps(info.scopes),
            info.created_us,
            info.expires_us,
            info.revoked_us,
            info.note,
            info.rate_per_minute,
        )
        return token

    def find(self, token: str) -> KeyInfo | None:
        """The key that `token` is, whatever its state; None when it is no key of this store."""
        match = TOKEN.fullmatch(token)
        if match is None:
            return None
        row = self.store.row(f"select sha256, {_COLUMNS} from api_keys where id = ?", match[1])
        if row is None or not hmac.compare_digest(row[0], fingerprint(token).hex()):
            return None
        return _info(row[1:])

    def all(self) -> list[KeyInfo]:
        """Every key, oldest first, revoked ones too."""
        return [_info(row) for row in self.store.rows(f"select {_COLUMNS} from api_keys order by created_us, id")]

    def revoke(self, id: str, now_us: int) -> bool:
        """End a key. False when there is none of this id that was not ended before."""
        ended = "update api_keys set revoked_us = ? where id = ? and revoked_us is null"
        return self.store.change(ended, now_us, id) == 1

    def version(self) -> int:
        """A number that changes when another process or gateway changed a key or something else of the store."""
        return self.store.version()

    def exclusively(self) -> AbstractContextManager[None]:
        """What is done inside happens in one process at a time."""
        return self.store.exclusively("keys")

    def close(self) -> None:
        """Let go of the store."""
        self.store.close()


def new_key_id() -> str:
    """Twelve letters and digits."""
    return "".join(secrets.choice(_LETTERS) for _ in range(12))


def fingerprint(token: str) -> bytes:
    """SHA-256 of a token: what is stored and what caches are keyed by."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


_COLUMNS = ", ".join(KeyInfo.__struct_fields__)


def _info(row: tuple[Any, ...]) -> KeyInfo:
    values = dict(zip(KeyInfo.__struct_fields__, row, strict=True))
    values["roles"], values["scopes"] = tuple(json.loads(values["roles"])), tuple(json.loads(values["scopes"]))
    return KeyInfo(**values)


def local_key(home: Path, keys: ApiKeys, *, tenant: str, now_us: int) -> str:
    """The token of the local user, kept in the file `token` of a state folder; replaced when it no longer works."""
    path = home / "token"
    with keys.exclusively():  # two processes starting together make one token
        token = read_private(path)
        key = keys.find(token) if token else None
        if key is not None and key.usable(now_us):
            return token
        info = KeyInfo(
            id=new_key_id(),
            tenant=tenant,
            subject=user_name(),
            roles=(OWNER,),
            scopes=(),
            created_us=now_us,
            note="local user, made at the first start",
        )
        token = keys.add(info)
        write_private(path, token)
    return token
