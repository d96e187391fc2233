"""A Postgres that several gateways share: they hear of changes, agree on keys, and cope when it is away."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from tests.control.conftest import TABLES, Gateways, Open, Wire
from tests.waiting import soon
from workbench.access import Access, UnauthenticatedError
from workbench.config import Settings
from workbench.control import ChangeNotice, ControlStoreError, open_store
from workbench.control import change_listener as following_module
from workbench.control import postgres as postgres_module
from workbench.control.change_listener import ChangeListener
from workbench.control.postgres_schema import channel
from workbench.events import MisuseError, UnreachableError

PASSWORD = "s3cr%2Ft-pass"


def admin(url: str, *statements: str) -> list[Any]:
    """What the last statement gives to the owner of the database."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as db:
        for statement in statements:
            done = db.execute(statement.encode())
        return done.fetchall() if done.description else []


# --- hearing of changes --------------------------------------------------------------------------


def test_gateways_are_told_which_row_of_which_table_changed(gateways: Gateways, opened: Open) -> None:
    a, b = opened(gateways("a")), opened(gateways("b"))
    heard: list[tuple[str, str]] = []
    b.on_change.append(lambda table, key: heard.append((table, key)))
    for store in (a, b):
        store.prepare("things", TABLES, told={"things": ChangeNotice("id", "update or delete")})
    a.change("insert into things values ('x y', 1, null, null)")
    a.change("update things set n = 2")
    a.change("delete from things")
    soon(lambda: len(heard) == 2)
    assert heard == [("things", "x y")] * 2


def test_what_nobody_told_of_is_found_out_a_beat_later(
    gateways: Gateways, opened: Open, monkeypatch: pytest.MonkeyPatch, postgres: str
) -> None:
    monkeypatch.setattr(following_module, "HEARTBEAT_S", 0.05)
    settings = gateways("a")
    store = opened(settings)
    heard: list[tuple[str, str]] = []
    store.on_change.append(lambda table, key: heard.append((table, key)))
    before = store.version()
    admin(postgres, f"update {settings.database_schema}.control_changes set n = n + 1")
    soon(lambda: heard == [("", "")])
    assert store.version() > before


@pytest.mark.parametrize("said", ["", "nonsense", "-1 things x", "1.5", "²", "9" * 5000])
def test_what_strangers_say_on_the_channel_does_not_end_the_hearing(
    gateways: Gateways, opened: Open, postgres: str, said: str
) -> None:
    a, b = opened(gateways("a")), opened(gateways("b"))
    heard: list[str] = []
    b.on_change.append(lambda table, key: heard.append(key))
    for store in (a, b):
        store.prepare("things", TABLES, told={"things": ChangeNotice("id", "insert")})
    admin(postgres, f"notify {channel(gateways('a').database_schema)}, '{said}'")
    a.change("insert into things values ('one', 1, null, null)")
    soon(lambda: "one" in heard or "" in heard)  # told of it, or asked a beat later


def test_a_room_that_cannot_follow_does_not_keep_others_from_hearing(
    gateways: Gateways, opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = opened(gateways("a")), opened(gateways("b"))
    heard: list[str] = []

    def breaks(table: str, key: str) -> None:
        heard.append(key)
        raise ZeroDivisionError

    b.on_change.append(breaks)
    for store in (a, b):
        store.prepare("things", TABLES, told={"things": ChangeNotice("id", "insert")})
    for name in ("one", "two"):
        a.change("insert into things values (?, 1, null, null)", name)
    soon(lambda: heard == ["one", "two"])
    soon(lambda: "could not be followed" in caplog.text)


# --- what gateways have in common ----------------------------------------------------------------


def test_gateways_of_one_deployment_have_their_keys_in_common(gateways: Gateways, opened: Open) -> None:
    alone, a, b = gateways("b", database_url=""), gateways("a"), gateways("b")
    open_store(alone).close()
    (alone.home / "redaction.key").write_bytes(b"x" * 32)
    for settings in (a, b):
        opened(settings)
    for name in ("session.key", "redaction.key"):
        assert (a.home / name).read_bytes() == (b.home / name).read_bytes()
        assert len((a.home / name).read_bytes()) == 32
        assert (b.home / name).stat().st_mode & 0o777 == 0o600
    (aside,) = b.home.glob("redaction.key.before-*")
    assert aside.read_bytes() == b"x" * 32


def test_the_first_gateway_brings_its_own_keys_along(gateways: Gateways, opened: Open) -> None:
    a = gateways("a")
    (a.home / "session.key").write_bytes(b"k" * 32)
    opened(a)
    b = gateways("b")
    opened(b)
    assert (b.home / "session.key").read_bytes() == b"k" * 32
    assert not list(a.home.glob("*.before-*"))


def test_many_gateways_that_start_together_make_one_schema(gateways: Gateways) -> None:
    start = threading.Barrier(5)
    done: list[Any] = []

    def begin(settings: Settings) -> None:
        start.wait()
        try:
            access = Access(settings)
            done.append(access.local_key())
            access.close()
        except BaseException as e:  # noqa: BLE001 - it is looked at below
            done.append(e)

    threads = [threading.Thread(target=begin, args=(gateways(f"g{i}"),)) for i in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(isinstance(each, str) for each in done), done
    access = Access(gateways("last"))
    assert len(access.keys()) == 5
    assert all(access.authenticate(f"Bearer {token}").roles == ("owner",) for token in done)
    access.close()


# --- settings that cannot be meant ---------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://u:{PASSWORD}@db/x",
        f"postgresql://u:{PASSWORD}@h@db/x",
        f"postgresql://u:{PASSWORD}@db/x?no_such_option=1",
        f"postgresql://u:{PASSWORD}@db:port/x",
        f"u:{PASSWORD}@db",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_and_never_repeated(gateways: Gateways, url: str) -> None:
    with pytest.raises((MisuseError, ControlStoreError)) as refused:
        open_store(gateways("a", database_url=url))
    told = str(refused.value) + refused.value.hint + repr(Settings(database_url=url)) + repr(refused.value.__cause__)
    assert PASSWORD not in told


def test_who_is_away_from_the_start_is_named_without_a_secret(gateways: Gateways, free_tcp_port: int) -> None:
    settings = gateways("a", database_url=f"postgresql://u:{PASSWORD}@127.0.0.1:{free_tcp_port}/db")
    before = threading.enumerate()
    with pytest.raises(ControlStoreError, match=r"127\.0\.0\.1/db, schema") as down:
        open_store(settings)
    assert PASSWORD not in str(down.value)
    # those of other stores, which the tests before these opened, may still be ending
    assert not [t for t in threading.enumerate() if t.name.startswith("control-patience") and t not in before]


@pytest.mark.parametrize("name", ["", "Public", "a-b", "a;drop", "x" * 60, "1a", "ä"])
def test_a_schema_has_a_plain_name(gateways: Gateways, name: str) -> None:
    with pytest.raises(MisuseError, match="database_schema"):
        open_store(gateways("a", database_schema=name))


def test_a_schema_of_a_later_version_is_left_alone(gateways: Gateways, opened: Open, postgres: str) -> None:
    settings = gateways("a")
    opened(settings).close()
    admin(postgres, f"update {settings.database_schema}.control_format set format = 99")
    with pytest.raises(MisuseError, match="made as format 99"):
        open_store(gateways("b"))


def test_a_role_that_may_not_make_the_schema_may_use_it(gateways: Gateways, opened: Open, postgres: str) -> None:
    settings = gateways("a")
    schema, role = settings.database_schema, f"r{settings.database_schema}"
    admin(postgres, f"create role {role} login")
    as_role = settings.database_url.replace("postgres@", f"{role}@")
    with pytest.raises(MisuseError, match="permission denied"):
        open_store(gateways("b", database_url=as_role))
    made = Access(settings)
    _, token = made.create_key("bob", roles=("viewer",))
    made.close()
    admin(
        postgres,
        f"grant usage on schema {schema} to {role}",
        f"grant select, insert, update, delete on all tables in schema {schema} to {role}",
    )
    used = Access(gateways("b", database_url=as_role))
    assert used.authenticate(f"Bearer {token}").subject == "bob"
    used.close()


def test_a_password_in_the_url_is_shown_nowhere(gateways: Gateways) -> None:
    from click.testing import CliRunner

    from workbench.cli import cli as command

    settings = gateways("a")
    url = settings.database_url.replace("postgres@", f"postgres:{PASSWORD}@") + "?application_name=x"
    for given in (url, f"{settings.database_url}?password={PASSWORD}"):
        env = {"WORKBENCH_DATABASE_URL": given, "WORKBENCH_DATABASE_SCHEMA": settings.database_schema}
        for arguments in (["doctor", "--json"], ["doctor", "--security", "--json"], ["access", "keys", "--json"]):
            done = CliRunner().invoke(command, ["--home", str(settings.home), *arguments], env=env)
            assert done.output
            assert PASSWORD not in done.output
        done = CliRunner().invoke(command, ["--home", str(settings.home), "doctor", "--json"], env=env)
        (control,) = [c for c in json.loads(done.stdout)["checks"] if c["name"] == "control"]
        assert "Postgres at 127.0.0.1/postgres" in control["finding"]
        assert "ms" in control["finding"]
        assert "redis_url" in control["hint"]


@pytest.mark.parametrize(
    ("arguments", "safe"),
    [
        ({}, True),
        ({"host": "/run/postgresql"}, True),
        ({"host": "127.0.0.1,::1"}, True),
        ({"host": "db.example"}, False),
        ({"host": "localhost,db.example"}, False),
        ({"host": "db.example", "sslmode": "require"}, False),
        ({"host": "db.example", "sslmode": "verify-full"}, True),
    ],
)
def test_a_connection_is_safe_on_this_machine_or_to_who_proves_who_they_are(
    arguments: dict[str, str], safe: bool
) -> None:
    assert postgres_module._safe(arguments) is safe


def test_a_key_ended_with_sql_ends_at_once(gateways: Gateways, postgres: str) -> None:
    settings = gateways("a")
    access = Access(settings)
    _, token = access.create_key("ann", roles=("viewer",))
    access.authenticate(f"Bearer {token}")
    admin(postgres, f"update {settings.database_schema}.api_keys set revoked_us = 1 where subject = 'ann'")
    with pytest.raises(UnauthenticatedError, match="revoked"):
        soon(lambda: not access.authenticate(f"Bearer {token}"))
    access.close()


def test_a_key_ended_before_the_gateway_listens_ends_as_soon_as_it_does(
    gateways: Gateways, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, follow = threading.Event(), ChangeListener._follow

    def late(self: ChangeListener) -> None:
        begin.wait()
        follow(self)

    monkeypatch.setattr(ChangeListener, "_follow", late)
    settings = gateways("a")
    access = Access(settings)
    _, token = access.create_key("ann", roles=("viewer",))
    access.authenticate(f"Bearer {token}")
    admin(postgres, f"update {settings.database_schema}.api_keys set revoked_us = 1 where subject = 'ann'")
    begin.set()
    with pytest.raises(UnauthenticatedError, match="revoked"):
        soon(lambda: not access.authenticate(f"Bearer {token}"))
    access.close()


# --- the database is away ------------------------------------------------------------------------


class Now:
    """Seconds that the test adds to those of the machine."""

    def __init__(self) -> None:
        self.more = 0.0
        self._real = postgres_module.monotonic

    def __call__(self) -> float:
        return self._real() + self.more


@pytest.mark.parametrize("fault", ["cut", "hang"])
def test_without_the_database_who_is_known_stays_for_the_grace_and_nobody_else(
    gateways: Gateways, wire: Wire, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_module, "CONNECT_TIMEOUT_S", 0.4)
    now, ticks = Now(), Now()
    monkeypatch.setattr(postgres_module, "monotonic", now)
    access = Access(gateways("a", database_grace=600), ticks=ticks)
    (_, known), (_, unseen) = (access.create_key(name, roles=("viewer",)) for name in ("bob", "cy"))
    access.authenticate(f"Bearer {known}")

    getattr(wire, fault)()
    soon(lambda: access.store.problem)
    ticks.more = 1.0
    assert access.authenticate(f"Bearer {known}").subject == "bob"
    with pytest.raises(ControlStoreError, match="does not answer"):
        access.authenticate(f"Bearer {unseen}")
    with pytest.raises(ControlStoreError):
        access.create_key("dee", roles=("viewer",))
    assert not access.blind

    now.more, ticks.more = 601.0, 2.0
    assert access.blind
    with pytest.raises(UnreachableError):
        access.authenticate(f"Bearer {known}")

    wire.mend()
    now.more = 0.0
    soon(lambda: not access.store.problem)
    ticks.more = 3.0
    soon(lambda: not access.blind)
    assert access.authenticate(f"Bearer {known}").subject == "bob"
    assert access.authenticate(f"Bearer {unseen}").subject == "cy"
    access.close()


def test_a_key_revoked_while_a_gateway_was_cut_off_ends_there_as_soon_as_it_is_back(
    gateways: Gateways, wire: Wire, postgres: str
) -> None:
    ticks = Now()
    apart, other = Access(gateways("a"), ticks=ticks), Access(gateways("b", database_url=postgres))
    info, token = apart.create_key("bob", roles=("viewer",))
    apart.authenticate(f"Bearer {token}")
    wire.cut()
    soon(lambda: apart.store.problem)
    other.revoke(info.id)
    assert apart.authenticate(f"Bearer {token}").subject == "bob"
    wire.mend()
    with pytest.raises(UnauthenticatedError, match="revoked"):
        soon(lambda: not apart.authenticate(f"Bearer {token}"))
    apart.close()
    other.close()


async def test_the_event_loop_goes_on_while_the_database_hangs(
    gateways: Gateways, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_module, "CONNECT_TIMEOUT_S", 0.5)
    access = Access(gateways("a"))
    _, token = access.create_key("bob", roles=("viewer",))
    wire.hang()
    asking = [asyncio.create_task(access.authenticate_async(f"Bearer {token}")) for _ in range(20)]
    turns = 0
    while not all(task.done() for task in asking):
        turns += 1
        await asyncio.sleep(0.001)
    assert turns > 50
    for task in asking:
        assert isinstance(task.exception(), ControlStoreError)
    wire.mend()
    access.close()


async def test_an_approval_cannot_be_had_without_the_database_and_the_call_is_refused(
    gateways: Gateways, wire: Wire
) -> None:
    from workbench.policy import Approvals, Redactor

    settings = gateways("a")
    desk = Approvals(settings, Redactor(settings.home))
    wire.cut()
    soon(lambda: desk.store.problem)
    with pytest.raises(ControlStoreError):
        await desk.wait("apr_x", 0.01)
    waiting = asyncio.create_task(desk.wait("apr_x", 30))
    await asyncio.sleep(0)
    wire.mend()
    assert await asyncio.wait_for(waiting, 10) is None  # it was asked again when the database was back
    desk.close()
