"""Every key of the platform is replaced without losing what it protects, on the record, and never under a platform."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workbench.access import Access, key_replacement
from workbench.access.api_keys import ApiKeys
from workbench.access.app_sessions import AppSessions
from workbench.access.oauth.signing import LocalIssuer
from workbench.access.outbound.signing_keys import gateway_key
from workbench.audit import AuditLog, Reader, verify
from workbench.audit.format.folder import AuditFolder
from workbench.audit.write.subject_keys import SubjectKeys
from workbench.cluster.sealed_tokens import SealedTokens
from workbench.config import Settings
from workbench.control import open_store
from workbench.events import MisuseError, now_us
from workbench.platform import key_rotation
from workbench.platform.key_rotation import KEYS, key_states, rotate
from workbench.platform.run_file import RunningPlatform, announce, process_started
from workbench.policy.redaction.redactor import Redactor

SEALED = ["session"]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.replace(audit_min_free_bytes=1)


async def one(settings: Settings, name: str, **options: bool) -> str:
    [done] = await rotate(settings, [name], by="ann", **options)
    return done.done


def later(monkeypatch: pytest.MonkeyPatch, days: float) -> None:
    at = now_us() + int(days * key_rotation.DAY_US)
    for module in ("workbench.secrets.keyring", "workbench.cluster.sealed_tokens"):
        monkeypatch.setattr(f"{module}.now_us", lambda: at)


def seal(settings: Settings) -> SealedTokens:
    open_store(settings).close()  # agrees on the key with other gateways
    return SealedTokens(settings.home / "session.key", b"x")


async def test_what_the_old_session_key_sealed_is_accepted_for_seven_days(settings, monkeypatch):
    old = seal(settings).close(b"hello")
    assert await one(settings, "session") == "replaced"
    new = seal(settings)
    assert new.open(old) == b"hello"
    assert new.close(b"x") != old
    assert SealedTokens(settings.home / "session.key", b"y").open(old) is None
    later(monkeypatch, 6.9)
    assert seal(settings).open(old) == new.open(old) == b"hello"
    later(monkeypatch, 7.1)
    assert seal(settings).open(old) is None
    assert new.open(old) is None  # also in a process that started before
    assert seal(settings).open(new.close(b"x")) == b"x"


async def test_a_session_key_that_leaked_counts_no_more(settings):
    old = seal(settings).close(b"hello")
    assert await one(settings, "session", now=True) == "replaced, the old key counts no more"
    assert seal(settings).open(old) is None
    assert not [path for path in settings.home.glob("session.*") if path.stat().st_mode & 0o077]


async def test_a_prepared_key_is_accepted_before_it_is_used_and_used_after(settings):
    before = seal(settings)
    await one(settings, "session", prepare=True)
    prepared = seal(settings)
    assert before.open(prepared.close(b"x")) == b"x"  # the old one still seals
    await one(settings, "session")
    after = seal(settings)
    assert prepared.open(after.close(b"x")) == b"x"
    assert before.open(after.close(b"x")) is None


async def test_a_rotation_that_dies_half_way_leaves_both_keys_accepted(settings, monkeypatch):
    old = seal(settings).close(b"hello")

    def dies(path: Path, content: bytes) -> None:
        if path.name == "session.key":
            raise KeyboardInterrupt
        _write(path, content)

    _write = key_replacement.write
    monkeypatch.setattr(key_replacement, "write", dies)
    with pytest.raises(KeyboardInterrupt):
        await one(settings, "session")
    monkeypatch.setattr(key_replacement, "write", _write)
    assert seal(settings).open(old) == b"hello"
    between = seal(settings).close(b"x")
    await one(settings, "session")
    assert [seal(settings).open(token) for token in (old, between)] == [b"hello", b"x"]


async def test_addresses_sealed_before_are_turned_back_and_pseudonyms_are_new(settings):
    before = Redactor(settings.home)
    address, found = before.address("crm://customers/ann@example.com", "acme")
    assert found == 1
    await one(settings, "redaction")
    after = Redactor(settings.home)
    assert after.opened(address, "acme") == "crm://customers/ann@example.com"
    assert after.opened(address, "globex") == address
    assert after.address("crm://customers/ann@example.com", "acme")[0] != address
    assert after.token("EMAIL", "ann@example.com", "acme") != before.token("EMAIL", "ann@example.com", "acme")
    await one(settings, "redaction", now=True)
    assert Redactor(settings.home).opened(address, "acme") == address


@contextlib.contextmanager
def issuer(settings: Settings):
    keys = ApiKeys(settings)
    made = LocalIssuer(settings, "http://127.0.0.1:8800", keys, now_us)
    try:
        yield made
    finally:
        made.close()
        keys.close()


def token_of(made: LocalIssuer) -> str:
    return made.access_token(
        subject="ann", client="c", tenant="local", roles=(), scopes=None, resources=["r"], seconds=300
    )[0]


async def test_tokens_of_the_old_key_verify_until_the_longest_of_them_has_ended(settings, monkeypatch):
    with issuer(settings) as made:
        first, token = made.kid, token_of(made)
    await one(settings, "oauth")
    with issuer(settings) as made:
        assert [key["kid"] for key in made.key_set()["keys"]] == [made.kid, first]
        assert all("d" not in key for key in made.key_set()["keys"])
        assert made.kid != first
        assert (await made.claims(token))["sub"] == "ann"
        assert (await made.claims(token_of(made)))["sub"] == "ann"
    later(monkeypatch, 1.1)
    with issuer(settings) as made:
        assert [key["kid"] for key in made.key_set()["keys"]] == [made.kid]


async def test_the_gateways_own_key_is_registered_before_it_signs(settings):
    first = gateway_key(settings).kid
    with pytest.raises(MisuseError, match="is not prepared, and identity providers have to know it"):
        await one(settings, "gateway")
    await one(settings, "gateway", prepare=True)
    assert await one(settings, "gateway", prepare=True) == "the next key was there already"
    both = [key["kid"] for key in gateway_key(settings).key_set()["keys"]]
    assert gateway_key(settings).kid == first == both[0]
    await one(settings, "gateway")
    assert [key["kid"] for key in gateway_key(settings).key_set()["keys"]] == both[1:]


async def test_the_owners_token_is_replaced_and_the_old_one_revoked(settings):
    access = Access(settings)
    old = access.local_key()
    access.close()
    assert str(settings.home / "token") in await one(settings, "token")
    keys = ApiKeys(settings)
    new = (settings.home / "token").read_text().strip()
    found = {token: keys.find(token) for token in (old, new)}
    keys.close()
    assert new != old
    assert [key is not None and key.usable(now_us()) for key in found.values()] == [False, True]
    assert (settings.home / "token").stat().st_mode & 0o777 == 0o600


async def test_browsers_are_signed_out(settings):
    sessions = AppSessions(settings.home)
    session = sessions.redeem(sessions.new_link())
    assert session is not None
    await one(settings, "app")
    assert sessions.expires(session) is None


async def test_what_people_asked_before_stays_readable_and_is_forgotten_with_the_rest(settings):
    record = {"user": "ann", "event_id": "e", "args_redacted": {"q": "smith"}}
    keys = SubjectKeys(settings.home)
    old = keys.protect("acme", record)["args_redacted"]
    await one(settings, "subjects")
    new = keys.protect("acme", record)["args_redacted"]
    assert old.split(":")[2] != new.split(":")[2]
    assert [keys.reveal("e", text) for text in (old, new)] == ['{"q":"smith"}'] * 2
    assert keys.forget("acme", "ann") == 2
    assert [keys.reveal("e", text) for text in (old, new)] == ["[forgotten]"] * 2
    keys.close()


async def test_keys_of_people_of_an_earlier_version_are_replaced_too(settings):
    import sqlite3

    with contextlib.closing(sqlite3.connect(settings.home / "subject-keys.db")) as db:
        db.executescript(
            "create table keys (id text primary key, tenant text not null, subject text not null, key blob, "
            "created_us integer not null, forgotten_us integer) strict;"
            "create unique index keys_live on keys (tenant, subject) where forgotten_us is null;"
            "insert into keys values ('a', 'acme', 'ann', x'00', 1, null);"
        )
    assert await one(settings, "subjects") == "1 keys are kept to read and used no more"
    keys = SubjectKeys(settings.home)
    assert keys.protect("acme", {"user": "ann", "event_id": "e", "args_redacted": {}})["args_redacted"]
    keys.close()


async def test_every_rotation_is_on_the_record_and_the_record_verifies(settings):
    seal(settings)
    await rotate(settings, ["session"], prepare=True, by="ann")
    await rotate(settings, ["session", "checkpoint"], by="ann")
    with Reader(settings.home) as reader:
        asked = "select events.*, data->>'key' as key from events where kind = 'access_event' order by ts, seq"
        found = [(row["outcome"], row["key"], row["user_id"]) for row in reader.sql(asked).to_pylist()]
    assert found == [
        (event, key, "ann")
        for key, act in (("session", "prepared"), ("session", "replaced"), ("checkpoint", "replaced"))
        for event in (f"key to be {act}", f"key {act}")
    ]
    assert verify(settings.home, deep=True).ok
    assert AuditFolder(settings.home).rotations.exists()


async def test_a_key_that_could_not_be_replaced_is_said_on_the_record(settings):
    await rotate(settings, ["checkpoint"], by="ann")
    folder = AuditFolder(settings.home)
    folder.rotations.unlink()
    with pytest.raises(MisuseError, match="cannot be replaced"):
        await rotate(settings, ["checkpoint"], by="ann")
    with Reader(settings.home) as reader:
        found = reader.sql("select outcome from events where kind = 'access_event' order by ts desc, seq desc")
        assert found.to_pylist()[0] == {"outcome": "key not replaced"}


# --- refusals -------------------------------------------------------------------------------------------


async def test_no_key_is_replaced_while_a_platform_runs(settings):
    key = seal(settings) and (settings.home / "session.key").read_bytes()
    started = process_started(os.getpid())
    assert started is not None
    announce(settings.home, RunningPlatform(url="http://127.0.0.1:1", pid=os.getpid(), started=started))
    for name in KEYS:
        with pytest.raises(MisuseError, match="A platform runs on") as refused:
            await rotate(settings, [name], now=name == "gateway", by="ann")
        assert "Stop it, rotate, and start it again." in refused.value.hint
    assert (settings.home / "session.key").read_bytes() == key


async def test_no_key_is_replaced_while_somebody_else_writes_to_the_record(settings):
    log = await AuditLog.open(settings)
    with pytest.raises(MisuseError, match="Another process writes to the record"):
        await rotate(settings, ["session"], by="ann")
    await log.close()
    await rotate(settings, ["session"], by="ann")


@pytest.mark.parametrize(
    ("names", "options", "said"),
    [
        (["sesion"], {}, "There is no key 'sesion'"),
        (["token"], {"prepare": True}, "The key token needs no preparation"),
        (["session"], {"prepare": True, "now": True}, "exclude each other"),
    ],
)
async def test_what_cannot_be_meant_is_refused_before_anything_changes(settings, names, options, said):
    with pytest.raises(MisuseError, match=said):
        await rotate(settings, names, by="ann", **options)
    assert not AuditFolder(settings.home).seals.exists()


async def test_a_key_that_is_not_there_yet_is_not_made(settings):
    assert await one(settings, "oauth") == "there is none yet"
    assert not (settings.home / "oauth.key").exists()


def test_a_new_state_folder_lists_every_key_without_making_one(settings):
    before = set(settings.home.rglob("*"))
    assert [state.name for state in key_states(settings)] == list(KEYS)
    assert all(state.made_us is None for state in key_states(settings))
    assert set(settings.home.rglob("*")) == before


# --- several gateways -----------------------------------------------------------------------------------


@pytest.fixture
def gateways(settings: Settings, tmp_path: Path) -> tuple[Settings, Settings]:
    """Two gateways that share a control database."""
    return settings, settings.replace(home=tmp_path / "other")


@pytest.mark.stores("postgres")
@pytest.mark.parametrize("sealing", [seal, lambda settings: _redactor(settings)], ids=["session", "redaction"])
async def test_gateways_that_start_one_after_the_other_understand_each_other_at_every_step(
    sealing: Callable[[Settings], Any], gateways, request
):
    name = request.node.callspec.id.split("-")[-1]
    a, b = gateways
    running = [sealing(a), sealing(b)]

    def understand() -> None:
        for one in running:
            for other in running:
                assert other.open(one.close(b"hello")) == b"hello"

    with pytest.raises(MisuseError, match="is not prepared, and every gateway has to accept it"):
        await rotate(a, [name], by="ann")
    for options in ({"prepare": True}, {}):
        await rotate(a, [name], by="ann", **options)
        understand()
        for number, each in enumerate(gateways):
            running[number] = sealing(each)
            understand()
    keys = {(each.home / f"{name}.key").read_bytes() for each in gateways}
    assert len(keys) == 1
    assert not list(b.home.glob("*.before-*"))  # a key that was replaced lies nowhere but in the ring


def _redactor(settings: Settings) -> Any:
    open_store(settings).close()
    redactor = Redactor(settings.home)

    class Handle:
        def close(self, data: bytes) -> str:
            return redactor._handles("acme").close(data.decode())

        def open(self, text: str) -> bytes:
            return redactor.opened(text, "acme").encode()

    return Handle()


@pytest.mark.stores("postgres")
async def test_tokens_of_one_gateway_verify_at_another_at_every_step(gateways):
    a, b = gateways
    with issuer(a) as first, issuer(b) as second:
        await rotate(a, ["oauth"], prepare=True, by="ann")
        with issuer(a) as prepared:
            assert await second.claims(token_of(prepared))
        await rotate(a, ["oauth"], by="ann")
        with issuer(b) as new, issuer(a) as same:
            assert new.kid == same.kid != first.kid
            assert await prepared.claims(token_of(new))
            assert await new.claims(token_of(second))


@pytest.mark.stores("postgres")
async def test_a_key_that_another_gateway_made_is_known_where_it_was_never_used(gateways):
    a, b = gateways
    with issuer(a) as made:
        await rotate(b, ["oauth"], prepare=True, by="ann")
        assert await one(b, "oauth", prepare=True) == "the next key was there already"
        assert await one(b, "oauth") == "replaced"
        with issuer(a) as after:
            assert after.kid != made.kid
            assert await after.claims(token_of(made))
