"""A key for each person: what they sent and got is encrypted with it, and unreadable for ever once it is destroyed.

The record is append-only and must verify for years, while a person may ask to be forgotten. So arguments, answers and
questions are encrypted (AES-256-GCM, NIST SP 800-38D) before they are chained and written; the keys are in
`subject-keys.db` in the state folder, readable by its owner alone. Destroying a key changes no line of the record.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import os
import secrets
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from workbench.events import JSON, now_us

FILE = "subject-keys.db"
MARK = "enc:v1:"
"""How an encrypted value begins; then the key's id, a colon, and base64 of nonce (12 bytes) and ciphertext."""

FORGOTTEN = "[forgotten]"
"""What is shown instead of a value whose key was destroyed."""

_FIELDS = ("args_redacted", "response_redacted", "error_message")
_DATA_FIELDS = ("question", "answer", "arguments", "note")
_HASHES = ("args_sha256",)
_DATA_HASHES = ("args_hash", "args_sha256")
_TABLE = """
create table if not exists keys (
  id text primary key, tenant text not null, subject text not null, key blob, created_us integer not null,
  forgotten_us integer, retired_us integer
) strict;
"""
_INDEX = """
drop index if exists keys_live;
create unique index if not exists keys_current on keys (tenant, subject)
  where forgotten_us is null and retired_us is null;
"""
"""`keys_live`, of earlier versions, allowed a person one key that is not destroyed; now old ones are kept to read."""


class SubjectKeys:
    """The keys of one state folder; several processes may use them at once.

    Args:
        home: the state folder.
        tenant: know only this tenant's keys; None knows all.
    """

    def __init__(self, home: Path, *, tenant: str | None = None) -> None:
        path = home / FILE
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._tenant = tenant
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, isolation_level=None, timeout=5.0, check_same_thread=False)
        self._db.execute("pragma secure_delete = on")  # a destroyed key must not stay in a free page
        self._db.execute("pragma synchronous = full")
        self._db.executescript(_TABLE)
        if "retired_us" not in {row[1] for row in self._db.execute("pragma table_info(keys)")}:
            with contextlib.suppress(sqlite3.OperationalError):  # another process was faster
                self._db.execute("alter table keys add column retired_us integer")
        if not self._db.execute("select 1 from sqlite_master where name = 'keys_current'").fetchone():
            self._db.executescript(_INDEX)
        self._version = -1
        self._by_subject: dict[tuple[str, str], tuple[str, bytes]] = {}
        self._by_id: dict[str, bytes | None] = {}

    def close(self) -> None:
        """Give up the file. May be called twice."""
        self._db.close()

    # --- writing ------------------------------------------------------------

    def protect(self, tenant: str, record: JSON) -> JSON:
        """`record` with everything its user sent and got encrypted; unchanged when it has no user.

        Hashes of arguments become keyed: a plain one could be guessed from likely arguments.

        Raises:
            sqlite3.Error: the keys cannot be read or written.
        """
        user = record.get("user")
        if not user:
            return record
        with self._lock:
            self._look_for_changes()
            key_id, key = self._key_of(tenant, user)
        cipher, event = _cipher(key), str(record.get("event_id", "")).encode()

        def seal(value: Any) -> str:
            nonce = secrets.token_bytes(12)
            sealed = nonce + cipher.encrypt(nonce, _encoded(value), event)
            return f"{MARK}{key_id}:{base64.b64encode(sealed).decode()}"

        def keyed(value: Any) -> str:
            return hmac.digest(key, str(value).encode(), "sha256").hex()

        changed = {**record, **_changed(record, _FIELDS, seal), **_changed(record, _HASHES, keyed)}
        data = record.get("data")
        if isinstance(data, dict):
            inner = {**data, **_changed(data, _DATA_FIELDS, seal), **_changed(data, _DATA_HASHES, keyed)}
            # what was too large is kept as its beginning, and that is as personal as the whole
            changed["data"] = seal(data) if data.get("omitted") is True else inner
        return changed

    def _key_of(self, tenant: str, subject: str) -> tuple[str, bytes]:
        found = self._by_subject.get((tenant, subject))
        if found is None:
            made = (secrets.token_hex(8), tenant, subject, secrets.token_bytes(32), now_us())
            self._db.execute(
                "insert or ignore into keys (id, tenant, subject, key, created_us) values (?, ?, ?, ?, ?)", made
            )
            row = self._db.execute(
                "select id, key from keys where tenant = ? and subject = ? and forgotten_us is null "
                "and retired_us is null",
                (tenant, subject),
            ).fetchone()
            found = self._by_subject[tenant, subject] = (row[0], row[1])
        return found

    def _look_for_changes(self) -> None:
        """Another process may have destroyed a key: nothing is kept longer than that."""
        version = self._db.execute("pragma data_version").fetchone()[0]
        if version != self._version:
            self._version = version
            self._by_subject.clear()
            self._by_id.clear()

    def known(self, tenant: str, subject: str) -> bool:
        """Whether there is a key of this person."""
        with self._lock:
            query = "select 1 from keys where tenant = ? and subject = ? and key is not null"
            return self._db.execute(query, (tenant, subject)).fetchone() is not None

    def forget(self, tenant: str, subject: str) -> int:
        """Destroy every key of one person; returns how many there were. What was encrypted stays unreadable for ever.

        Raises:
            sqlite3.Error: the keys cannot be written.
        """
        with self._lock:
            self._by_subject.clear()
            self._by_id.clear()
            return self._db.execute(
                "update keys set key = null, forgotten_us = ? where tenant = ? and subject = ? and key is not null",
                (now_us(), tenant, subject),
            ).rowcount

    def rotate(self) -> int:
        """Encrypt with a new key of each person from now on; how many keys were replaced. Old records stay readable,
        and forgetting a person destroys all of their keys.

        Raises:
            sqlite3.Error: the keys cannot be written.
        """
        with self._lock:
            self._by_subject.clear()
            return self._db.execute(
                "update keys set retired_us = ? where retired_us is null and forgotten_us is null", (now_us(),)
            ).rowcount

    def newest_us(self) -> int | None:
        """When the newest key was made, in microseconds since the epoch; None when there is none."""
        with self._lock:
            found: int | None = self._db.execute("select max(created_us) from keys").fetchone()[0]
            return found

    # --- reading --------------------------------------------------------------

    def reveal(self, event_id: str | None, text: str | None) -> str | None:
        """A column of the record in clear: the text itself, or JSON text in which values are encrypted.

        Args:
            event_id: of the record that the text is from; a value copied from another record stays closed.
        """
        if text is None or MARK not in text:
            return text
        with self._lock:
            self._look_for_changes()
            if text.startswith(MARK):
                value = self._open(event_id, text)
                return value if isinstance(value, str) else orjson.dumps(value).decode()
            try:
                return orjson.dumps(self._walk(event_id, orjson.loads(text))).decode()
            except orjson.JSONDecodeError:
                return text

    def _walk(self, event_id: str | None, value: Any) -> Any:
        if isinstance(value, str):
            return self._open(event_id, value) if value.startswith(MARK) else value
        if isinstance(value, dict):
            return {key: self._walk(event_id, item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._walk(event_id, item) for item in value]
        return value

    def _open(self, event_id: str | None, sealed: str) -> Any:
        from cryptography.exceptions import InvalidTag

        key_id, _, encoded = sealed.removeprefix(MARK).partition(":")
        try:
            raw = base64.b64decode(encoded, validate=True)
            key = self._key_by_id(key_id)
            if key is None:
                return FORGOTTEN
            return orjson.loads(_cipher(key).decrypt(raw[:12], raw[12:], (event_id or "").encode()))
        except (ValueError, InvalidTag):  # no ciphertext of this record: somebody's own text that looks like one
            return sealed

    def _key_by_id(self, key_id: str) -> bytes | None:
        if key_id not in self._by_id:
            row = self._db.execute(
                "select key from keys where id = ? and (? is null or tenant = ?)", (key_id, self._tenant, self._tenant)
            ).fetchone()
            if row is None:
                raise ValueError("no such key")
            self._by_id[key_id] = row[0]
        return self._by_id[key_id]


def _changed(values: JSON, names: tuple[str, ...], change: Callable[[Any], str]) -> JSON:
    return {name: change(values[name]) for name in names if values.get(name) is not None}


def _encoded(value: Any) -> bytes:
    from workbench.json_values import plain

    try:
        return orjson.dumps(value)
    except TypeError:
        return orjson.dumps(plain(value))


def _cipher(key: bytes) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)
