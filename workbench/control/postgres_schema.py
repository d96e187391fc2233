"""The schema of a deployment in Postgres: made once, in SQLite's words, safe when several gateways start at once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from workbench.control.control_store import ChangeNotice
from workbench.events import MisuseError

if TYPE_CHECKING:
    from psycopg import Connection

FORMAT: Final = 1
"""Of what this file makes; the rooms' tables only ever gain columns."""

_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,50}")
_OWN: Final = """
create table if not exists control_format (format bigint not null);
create table if not exists control_rooms (room text primary key, digest text not null);
create table if not exists control_files (name text primary key, content bytea not null);
create table if not exists control_changes (n bigint not null);
insert into control_format select {format} where not exists (select from control_format);
insert into control_changes select 0 where not exists (select from control_changes);
create or replace function control_told() returns trigger language plpgsql set search_path = {schema} as $$
declare counted bigint; changed jsonb;
begin
  changed := case when tg_op = 'DELETE' then to_jsonb(old) else to_jsonb(new) end;
  -- the row stays locked until the commit, so whoever sees the number sees the change as well
  update control_changes set n = n + 1 returning n into counted;
  perform pg_notify(tg_argv[0], counted || ' ' || tg_table_name || ' ' || left(changed ->> tg_argv[1], 200));
  return null;
end $$;
"""


def check_name(schema: str) -> str:
    """The name of a schema as it may stand in statements. Raises Misuse for any other."""
    if not _NAME.fullmatch(schema):
        raise MisuseError(
            f"Setting database_schema is {schema[:80]!r}.", hint="Expected small letters, digits and underscores."
        )
    return schema


def channel(schema: str) -> str:
    """The channel on which a deployment's gateways hear of changes."""
    return f"workbench_{schema}"


def make_schema(db: Connection[Any], schema: str) -> None:
    """Make or recognise the schema.

    Raises:
        MisuseError: a later version made it.
        psycopg.Error: it cannot be made.
    """
    if _format(db) is None:  # a role that may only use the tables never gets here
        with db.transaction():
            _lock(db, schema)
            if db.execute("select to_regnamespace(%s)", (schema,)).fetchone() == (None,):
                db.execute(f"create schema {schema}".encode())
            db.execute(_OWN.format(format=FORMAT, schema=schema).encode())
    found = _format(db)
    if found is None or found > FORMAT:
        raise MisuseError(
            f"The schema {schema} of the control database was made as format {found}; this version reads {FORMAT}.",
            hint="Use the version that made it, or set database_schema to another name.",
        )


def make_tables(
    db: Connection[Any],
    schema: str,
    room: str,
    tables: str,
    added: Sequence[tuple[str, str]],
    told: Mapping[str, ChangeNotice],
) -> None:
    """Make the tables of a room, unless they were made by the very same words."""
    words = [tables, *(f"{table} {column}" for table, column in added), *(f"{t} {told[t]}" for t in sorted(told))]
    digest = hashlib.sha256("\0".join(words).encode()).hexdigest()
    query = "select 1 from control_rooms where room = %s and digest = %s"
    if db.execute(query, (room, digest)).fetchone() is not None:
        return
    statements = [translated_types(tables).rstrip().rstrip(";") + ";"]
    statements += [
        f"alter table {table} add column if not exists {translated_types(column)};" for table, column in added
    ]
    for table, which in told.items():
        statements.append(
            f"create or replace trigger told_{table} after {which.events} on {table} "
            f"for each row execute function control_told('{channel(schema)}', '{which.key}');"
        )
    with db.transaction():
        _lock(db, schema)
        db.execute("\n".join(statements).encode())
        db.execute(
            "insert into control_rooms values (%s, %s) on conflict (room) do update set digest = excluded.digest",
            (room, digest),
        )


def translated_types(ddl: str) -> str:
    """Definitions in SQLite's words as Postgres knows them."""
    ddl = re.sub(r"\binteger\b", "bigint", ddl)
    return re.sub(r"\)\s*strict\b", ")", re.sub(r"\bblob\b", "bytea", ddl))


def translated(statement: str) -> bytes:
    """A statement with `?` for its values as psycopg takes it."""
    return statement.replace("%", "%%").replace("?", "%s").encode()


def lock_number(schema: str, what: str) -> int:
    """The number of the advisory lock that stands for `what` in a deployment."""
    return int.from_bytes(hashlib.sha256(f"workbench {schema} {what}".encode()).digest()[:8], "big", signed=True)


def _lock(db: Connection[Any], schema: str) -> None:
    db.execute("select pg_advisory_xact_lock(%s)", (lock_number(schema, "schema"),))


def _format(db: Connection[Any]) -> int | None:
    if db.execute("select to_regclass('control_format')").fetchone() == (None,):
        return None
    row = db.execute("select format from control_format").fetchone()
    return None if row is None else int(row[0])
