"""The control store says the same, whichever database is behind it."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tests.control.conftest import TABLES, Open
from tests.waiting import soon
from workbench.config import Settings
from workbench.control import ChangeNotice, ControlStore, ControlStoreError, open_store
from workbench.events import MisuseError

pytestmark = pytest.mark.stores("sqlite", "postgres")

PUT = "insert into things values (?, ?, ?, ?) on conflict (id) do update set n = excluded.n"


@pytest.fixture
def things(settings: Settings, opened: Open) -> ControlStore:
    store = opened(settings)
    store.prepare("things", TABLES, told={"things": ChangeNotice("id")})
    return store


def test_what_is_stored_comes_back_as_it_was(things: ControlStore) -> None:
    rows = [
        ("100 % of ?", 2**62, b"\0\xff", None),
        ("'; drop table things; --", -1, b"", 'a\nb\t\\ "ü" \U0001f600'),
        ("", 0, None, "%s %(name)s {x}"),
    ]
    for row in rows:
        assert things.change(PUT, *row) == 1
    assert sorted(things.rows("select * from things")) == sorted(rows)
    assert things.row("select n from things where id = ?", rows[1][0]) == (-1,)
    assert things.row("select n from things where id like '%no such%'") is None
    assert things.rows("select id from things where id = ?", "a\0b") == []


def test_a_change_says_how_many_rows_it_changed_and_returns_them_where_asked(things: ControlStore) -> None:
    for n in range(3):
        things.change(PUT, f"t{n}", n, None, None)
    assert things.change("update things set n = n + 10 where n > ?", 0) == 2
    assert things.change("update things set n = 0 where id = ?", "none") == 0
    ended = things.rows("update things set n = -1 where n > ? returning id, n", 10)
    assert sorted(ended) == [("t1", -1), ("t2", -1)]
    assert things.rows("update things set n = -1 where n > ? returning id, n", 10) == []


def test_what_contradicts_what_is_stored_is_refused(things: ControlStore) -> None:
    things.change(PUT, "t", 1, None, None)
    put = "insert into things values (?, ?, null, null)"
    for values in (("t", 2), ("u", None)):
        with pytest.raises(MisuseError, match="contradicts"):
            things.change(put, *values)
    assert things.rows("select id, n from things") == [("t", 1)]


def test_what_happens_exclusively_happens_whole_or_not_at_all(things: ControlStore) -> None:
    def half() -> None:
        with things.exclusively("count"):
            things.change(PUT, "t", 1, None, None)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert things.rows("select * from things") == []
    with things.exclusively("count"):
        things.change(PUT, "t", 1, None, None)
    assert things.row("select n from things") == (1,)


def test_what_happens_exclusively_happens_at_one_place_at_a_time(settings: Settings, things: ControlStore) -> None:
    things.change(PUT, "t", 0, None, None)
    start = threading.Barrier(4)

    def count() -> None:
        mine = open_store(settings)
        start.wait()
        for _ in range(10):
            with mine.exclusively("count"):
                (n,) = mine.row("select n from things") or (0,)
                mine.change("update things set n = ?", n + 1)
        mine.close()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert things.row("select n from things") == (40,)


def test_tables_are_made_once_and_gain_columns_however_many_start_together(settings: Settings, opened: Open) -> None:
    first = opened(settings)
    first.prepare("things", TABLES)
    first.change("insert into things values ('old', 1, null, null)")
    start = threading.Barrier(6)
    failed: list[BaseException] = []

    def begin() -> None:
        start.wait()
        try:
            mine = open_store(settings)
            mine.prepare("things", TABLES, added=[("things", "extra integer"), ("things", "n integer")])
            mine.prepare("others", "create table if not exists others (id text primary key) strict")
            mine.close()
        except BaseException as e:  # noqa: BLE001 - it is looked at below
            failed.append(e)

    threads = [threading.Thread(target=begin) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert first.row("select id, extra from things") == ("old", None)
    assert first.rows("select * from others") == []


def test_the_version_changes_when_somebody_else_changes_what_is_told(settings: Settings, opened: Open) -> None:
    here, there = opened(settings), opened(settings)
    for store in (here, there):
        store.prepare("things", TABLES, told={"things": ChangeNotice("id", "insert or update")})
    before = here.version()
    assert here.version() == before
    there.change(PUT, "t", 1, None, None)
    soon(lambda: here.version() != before)


async def test_work_aside_gives_its_result_or_its_error(things: ControlStore) -> None:
    assert await things.aside(things.row, "select ? || 'b'", "a") == ("ab",)
    assert await things.aside(lambda *, n: n + 1, n=1) == 2
    with pytest.raises(ZeroDivisionError):
        await things.aside(lambda: 1 // 0)
    loop = asyncio.get_running_loop()
    assert await things.aside(lambda: loop.is_running())


def test_a_closed_store_says_nothing(settings: Settings) -> None:
    store = open_store(settings)
    store.close()
    store.close()
    for ask in (lambda: store.rows("select 1"), lambda: store.change("select 1"), store.version, store.probe):
        with pytest.raises(ControlStoreError):
            ask()


def test_a_store_says_where_it_is_and_answers(things: ControlStore, settings: Settings) -> None:
    assert things.problem == ""
    assert things.probe() > 0
    assert ("Postgres" if settings.database_url else "control.db") in things.where
    assert things.safe_transport
