"""That a record exists is also known outside its folder: whoever deletes the folder leaves this behind.

One row in the control database: how many writers were opened, and the newest signed tree. It is no defence against the
owner of the state folder, who can delete that as well; for that there are witnesses elsewhere.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from workbench.config import open_control
from workbench.events import MisuseError, now_us

_TABLE = """create table if not exists audit_existence (
    id integer primary key check (id = 1), writers integer not null, seals integer not null, records integer not null,
    root text not null, at_us integer not null)"""
_log = logging.getLogger(__name__)


class RecordExistence(NamedTuple):
    """What the control database knows of the record."""

    writers: int
    """How many were ever opened."""
    seals: int
    records: int
    """Lines that the seals state."""
    root: bytes
    at_us: int

    @property
    def at(self) -> str:
        """When that was, in words."""
        return datetime.fromtimestamp(self.at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def remembered(home: Path) -> RecordExistence | None:
    """What is known of the record under a state folder; None when nothing is. The database is only read."""
    path = home / "control.db"
    if not path.is_file():
        return None
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path, timeout=5.0)) as db:
        row = db.execute("select writers, seals, records, root, at_us from audit_existence").fetchone()
        if row is not None:
            return RecordExistence(row[0], row[1], row[2], base64.b64decode(row[3]), row[4])
    return None


def remember_writer(home: Path) -> None:
    """A writer was opened."""
    _write(
        home,
        "insert into audit_existence values (1, 1, 0, 0, '', ?) on conflict (id) do update set writers = writers + 1",
        (now_us(),),
    )


def remember_seals(home: Path, seals: int, records: int, root: bytes) -> None:
    """A tree was signed that holds all that was signed before it."""
    _write(
        home,
        "insert into audit_existence values (1, 0, ?1, ?2, ?3, ?4) on conflict (id) do update "
        "set seals = ?1, records = ?2, root = ?3, at_us = ?4 where seals < ?1",
        (seals, records, base64.b64encode(root).decode(), now_us()),
    )


def _write(home: Path, statement: str, values: tuple[int | str, ...]) -> None:
    try:
        with contextlib.closing(open_control(home)) as db:
            db.execute(_TABLE)
            db.execute(statement, values)
    except (sqlite3.Error, MisuseError) as e:
        # the record itself is written all the same, and the next signature says it again
        _log.warning("the control database does not remember the record: %s", e)
