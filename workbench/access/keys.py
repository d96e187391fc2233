"""API keys: `mk_<id>_<secret>`, shown once, kept only as their SHA-256, revocable at once in every process.

The secret has 256 random bits, so a plain hash is enough: there is nothing to guess, and a slow hash would only make
every call slower (RFC 6819 §5.1.4.1.3 asks for salts and slow hashes where secrets have low entropy).
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import re
import secrets
import sqlite3
import threading
from pathlib import Path
from typing import Any

from workbench.config import open_control
from workbench.events import Record

TOKEN = re.compile(r"mk_([a-z0-9]{12})_[A-Za-z0-9_-]{43}")

_TABLE = """
create table if not exists api_keys (
  id text primary key, sha256 text not null, tenant text not null, subject text not null, roles text not null,
  scopes text not null, created_us integer not null, expires_us integer, revoked_us integer, note text not null,
  rate_per_minute integer
) strict
"""
_ADDED = "alter table api_keys add column rate_per_minute integer"
"""What a table that was made before the column lacks."""
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


class Keys:
    """The keys of one state folder.

    Args:
        home: a prepared state folder.
    """

    def __init__(self, home: Path) -> None:
        self._db = open_control(home)
        self._lock = threading.RLock()
        self._db.execute(_TABLE)
        if "rate_per_minute" not in {row[1] for row in self._db.execute("pragma table_info(api_keys)")}:
            with contextlib.suppress(sqlite3.OperationalError):  # another process was faster
                self._db.execute(_ADDED)

    def add(self, info: KeyInfo) -> str:
        """Store a key under `info.id` and return its token, the only time it exists in clear."""
        token = f"mk_{info.id}_{secrets.token_urlsafe(32)}"
        with self._lock:
            self._db.execute(
                "insert into api_keys values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
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
                ),
            )
        return token

    def find(self, token: str) -> KeyInfo | None:
        """The key that `token` is, whatever its state; None when it is no key of this folder."""
        match = TOKEN.fullmatch(token)
        if match is None:
            return None
        with self._lock:
            row = self._db.execute(f"select sha256, {_COLUMNS} from api_keys where id = ?", (match[1],)).fetchone()
        if row is None or not hmac.compare_digest(row[0], fingerprint(token).hex()):
            return None
        return _info(row[1:])

    def all(self) -> list[KeyInfo]:
        """Every key, oldest first, revoked ones too."""
        with self._lock:
            rows = self._db.execute(f"select {_COLUMNS} from api_keys order by created_us, id").fetchall()
        return [_info(row) for row in rows]

    def revoke(self, id: str, now_us: int) -> bool:
        """End a key. False when there is none of this id that was not ended before."""
        with self._lock:
            done = self._db.execute(
                "update api_keys set revoked_us = ? where id = ? and revoked_us is null", (now_us, id)
            )
            return done.rowcount == 1

    def version(self) -> int:
        """A number that changes when another connection, in this process or another, wrote to the database."""
        with self._lock:
            return int(self._db.execute("pragma data_version").fetchone()[0])

    def exclusively(self) -> _Exclusive:
        """Hold the database's write lock: what is done inside happens in one process at a time."""
        return _Exclusive(self._db, self._lock)

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()


class _Exclusive:
    def __init__(self, db: sqlite3.Connection, lock: threading.RLock) -> None:
        self._db = db
        self._lock = lock

    def __enter__(self) -> None:
        self._lock.acquire()
        try:
            self._db.execute("begin immediate")
        except sqlite3.Error:
            self._lock.release()
            raise

    def __exit__(self, kind: object, *rest: object) -> None:
        try:
            self._db.execute("commit" if kind is None else "rollback")
        finally:
            self._lock.release()


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
