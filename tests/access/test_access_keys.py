"""Keys: shown once, kept as hashes, narrowed by scopes, ended at once."""

from __future__ import annotations

import base64
import contextlib
import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.waiting import soon
from workbench.access import Access, UnauthenticatedError
from workbench.access import callers as callers_module
from workbench.config import Settings
from workbench.events import Caller, MisuseError

pytestmark = pytest.mark.stores("sqlite", "postgres")


class Ticks:
    """A clock that the test moves."""

    def __init__(self, at: float = 0.0) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def access(settings: Settings) -> Iterator[Access]:
    opened = Access(settings)
    yield opened
    opened.close()


def test_a_key_is_its_callers_identity_and_carries_the_tenant(access: Access) -> None:
    info, token = access.create_key("bob", roles=("employee",), tenant="acme", note="laptop")
    caller = access.authenticate(f"Bearer {token}")
    assert (caller.tenant, caller.subject, caller.roles) == ("acme", "bob", ("employee",))
    assert (caller.credential, caller.method) == (info.id, "key")
    assert caller.has("crm:read")
    assert not caller.has("crm:write")
    assert not caller.has("pii:read")


@pytest.mark.stores("sqlite")
def test_the_secret_is_nowhere_in_the_state_folder(settings: Settings, access: Access) -> None:
    _, token = access.create_key("bob", roles=("employee",))
    access.authenticate(f"Bearer {token}")
    secret = token.split("_", 2)[2].encode()
    files = [p for p in settings.home.rglob("*") if p.is_file()]
    assert any(p.name.startswith("control.db") for p in files)
    assert not [p for p in files if secret in p.read_bytes()]


def test_the_list_of_keys_shows_everything_but_the_secret(access: Access) -> None:
    info, token = access.create_key("bob", roles=("viewer",), note="ci")
    assert access.keys() == [info]
    assert token.split("_", 2)[2] not in repr(access.keys())


def _malformed(token: str) -> dict[str, str]:
    id, secret = token.split("_", 2)[1:]
    flipped = secret[:-1] + ("A" if secret[-1] != "A" else "B")
    return {
        "empty": "",
        "a scheme alone": "Bearer",
        "a scheme and a space": "Bearer ",
        "no scheme": token,
        "another scheme": f"Basic {base64.b64encode(token.encode()).decode()}",
        "digest": f'Digest username="{token}"',
        "two spaces": f"Bearer  {token}",
        "a space behind": f"Bearer {token} ",
        "a line behind": f"Bearer {token}\n",
        "a tab between": f"Bearer\t{token}",
        "a NUL behind": f"Bearer {token}\0",
        "quoted": f'Bearer "{token}"',
        "two credentials": f"Bearer {token}, Bearer {token}",
        "wrong secret of a known key": f"Bearer mk_{id}_{flipped}",
        "secret cut short": f"Bearer {token[:-1]}",
        "secret with more behind": f"Bearer {token}A",
        "no secret": f"Bearer mk_{id}_",
        "unknown id": f"Bearer mk_{'a' * 12}_{secret}",
        "id in capitals": f"Bearer mk_{id.upper()}_{secret}",
        "sql in the id": f"Bearer mk_' or 1=1 --_{secret}",
        "a token of another kind": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0.",
        "full width letters": f"Bearer {token.replace('mk_', 'ｍｋ_')}",
        "an unpaired surrogate": "Bearer \ud83d",
        "very long": "Bearer " + "a" * 100_000,
        "null": "null",
        "undefined": "Bearer undefined",
    }


MALFORMED = tuple(_malformed("mk_abcdefghijkl_" + "x" * 43))


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_header_is_refused_and_never_repeated(access: Access, case: str) -> None:
    _, token = access.create_key("bob", roles=("owner",))
    header = _malformed(token)[case]
    with pytest.raises(UnauthenticatedError) as refused:
        access.authenticate(header)
    message = str(refused.value)
    assert token.split("_", 2)[2] not in message
    assert header.strip() in ("", "Bearer", "null") or header not in message


@pytest.mark.parametrize("header", [b"Bearer x", 5, ["Bearer x"], {"a": 1}])
def test_a_header_that_is_no_text_is_refused(access: Access, header: object) -> None:
    with pytest.raises(UnauthenticatedError):
        access.authenticate(header)  # type: ignore[arg-type]


def test_no_header_is_nobody_unless_authentication_is_off(settings: Settings) -> None:
    with pytest.raises(UnauthenticatedError, match="no Authorization header"):
        Access(settings).authenticate(None)
    open_house = Access(settings.replace(authentication=False))
    assert open_house.authenticate(None).roles == ("owner",)
    for header in ("", "Bearer", "Bearer wrong", "Basic x"):
        with pytest.raises(UnauthenticatedError):
            open_house.authenticate(header)


_shared: dict[str, Access] = {}


@given(st.one_of(st.text(), st.text().map(lambda t: f"Bearer {t}"), st.from_regex(r"Bearer mk_[a-z0-9]{12}_[\w-]{43}")))
@hypothesis_settings(max_examples=300, deadline=None)
def test_no_text_whatever_is_a_caller(tmp_path_factory: pytest.TempPathFactory, header: str) -> None:
    if "access" not in _shared:
        home = tmp_path_factory.mktemp("h") / "home"
        _shared["access"] = Access(Settings.load(env={}, cwd=home.parent, home=home))
    with pytest.raises(UnauthenticatedError) as refused:
        _shared["access"].authenticate(header)
    token = header.partition(" ")[2].strip()
    assert len(token) < 12 or token not in str(refused.value)


@pytest.mark.stores("sqlite")
def test_a_key_of_another_state_folder_is_unknown_here(settings: Settings, access: Access, tmp_path: Path) -> None:
    other = Access(settings.replace(home=tmp_path / "other"))
    _, token = other.create_key("bob", roles=("owner",))
    with pytest.raises(UnauthenticatedError, match="no key of this workbench"):
        access.authenticate(f"Bearer {token}")


def test_a_key_ends_when_it_expires_even_if_it_is_remembered(settings: Settings) -> None:
    now = [1_000_000]
    access = Access(settings, clock=lambda: now[0])
    _, token = access.create_key("bob", roles=("viewer",), expires_us=2_000_000)
    assert access.authenticate(f"Bearer {token}").subject == "bob"
    now[0] = 1_999_999
    assert access.authenticate(f"Bearer {token}").subject == "bob"
    now[0] = 2_000_000
    with pytest.raises(UnauthenticatedError, match="expired"):
        access.authenticate(f"Bearer {token}")


def test_a_revoked_key_is_refused_by_the_next_request(access: Access) -> None:
    info, token = access.create_key("bob", roles=("viewer",))
    access.authenticate(f"Bearer {token}")
    assert access.revoke(info.id)
    with pytest.raises(UnauthenticatedError, match="revoked"):
        access.authenticate(f"Bearer {token}")
    assert not access.revoke(info.id)
    (ended,) = access.keys()
    assert ended.revoked_us is not None


def test_revoking_an_unknown_key_says_so(access: Access) -> None:
    with pytest.raises(MisuseError, match="no key 'nosuch'"):
        access.revoke("nosuch")


def test_a_revocation_by_another_opener_of_the_file_counts_within_a_second(settings: Settings) -> None:
    ticks = Ticks()
    here, there = Access(settings, ticks=ticks), Access(settings)
    info, token = here.create_key("bob", roles=("viewer",))
    here.authenticate(f"Bearer {token}")
    there.revoke(info.id)
    ticks.at = 1.0
    with pytest.raises(UnauthenticatedError, match="revoked"):
        soon(lambda: not here.authenticate(f"Bearer {token}"))


@pytest.mark.slow
def test_a_revocation_in_another_process_counts_within_a_second(settings: Settings, store: dict[str, str]) -> None:
    ticks = Ticks()
    access = Access(settings, ticks=ticks)
    info, token = access.create_key("bob", roles=("viewer",))
    access.authenticate(f"Bearer {token}")
    program = (
        "import json, sys; from pathlib import Path; from workbench.access import Access; "
        "from workbench.config import Settings; "
        "home = Path(sys.argv[1]); given = json.loads(sys.argv[3]); "
        "Access(Settings.load(env={}, cwd=home.parent, home=home, **given)).revoke(sys.argv[2])"
    )
    arguments = [str(settings.home), info.id, json.dumps(store)]
    subprocess.run([sys.executable, "-c", program, *arguments], check=True, timeout=30)
    ticks.at = 1.0
    with pytest.raises(UnauthenticatedError, match="revoked"):
        soon(lambda: not access.authenticate(f"Bearer {token}"))


def test_a_key_revoked_while_it_is_being_verified_is_not_remembered(access: Access) -> None:
    info, token = access.create_key("bob", roles=("viewer",))
    find = access._keys.find

    def slow_find(presented: str) -> object:
        found = find(presented)
        access.revoke(info.id)  # between reading the key and remembering its caller
        return found

    access._keys.find = slow_find  # type: ignore[assignment, method-assign]
    access.authenticate(f"Bearer {token}")
    access._keys.find = find  # type: ignore[method-assign]
    with pytest.raises(UnauthenticatedError, match="revoked"):
        access.authenticate(f"Bearer {token}")


@pytest.mark.stores("sqlite")
def test_a_remembered_key_costs_no_database_access_and_the_memory_is_bounded(
    access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers_module, "MAX_CACHED", 3)
    tokens = [access.create_key(f"u{i}", roles=("viewer",))[1] for i in range(10)]
    for token in tokens:
        access.authenticate(f"Bearer {token}")
        assert len(access._known) <= 3
    assert not any(token in repr(list(access._known)) for token in tokens)
    access._keys.close()
    assert access.authenticate(f"Bearer {tokens[-1]}").subject == "u9"
    with pytest.raises(UnauthenticatedError, match="No key can be checked"):
        access.authenticate(f"Bearer {tokens[0]}")


@pytest.mark.stores("sqlite")
def test_a_database_that_fails_lets_nobody_stay_known(settings: Settings) -> None:
    ticks = Ticks()
    access = Access(settings, ticks=ticks)
    _, token = access.create_key("bob", roles=("viewer",))
    access.authenticate(f"Bearer {token}")
    access.close()
    ticks.at = 1.0
    with pytest.raises(UnauthenticatedError, match="No key can be checked"):
        access.authenticate(f"Bearer {token}")


def test_threads_that_verify_and_revoke_at_once_leave_nothing_behind(access: Access) -> None:
    made = [access.create_key(f"u{i}", roles=("viewer",)) for i in range(20)]
    start = threading.Barrier(5)

    def verify() -> None:
        start.wait()
        for _, token in made * 5:
            try:
                access.authenticate(f"Bearer {token}")
            except UnauthenticatedError:
                continue

    threads = [threading.Thread(target=verify) for _ in range(4)]
    for thread in threads:
        thread.start()
    start.wait()
    for info, _ in made:
        access.revoke(info.id)
    for thread in threads:
        thread.join()
    for _, token in made:
        with pytest.raises(UnauthenticatedError):
            access.authenticate(f"Bearer {token}")


# --- what a key may do ---------------------------------------------------------------------------


def test_scopes_of_a_key_narrow_its_roles_and_never_widen_them(access: Access) -> None:
    _, token = access.create_key("bob", roles=("employee",), scopes=("tickets:read", "crm:*", "payments:*"))
    caller = access.authenticate(f"Bearer {token}")
    assert caller.scopes == {"tickets:read", "crm:read", "payments:read"}


def test_a_key_without_roles_holds_its_scopes_and_no_more(access: Access) -> None:
    _, token = access.create_key("ci", roles=(), scopes=("crm:read",))
    assert access.authenticate(f"Bearer {token}").scopes == {"crm:read"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"roles": ("emploee",)}, "Did you mean 'employee'"),
        ({"roles": "employee"}, "lists of names"),
        ({"roles": ()}, "could do nothing"),
        ({"roles": ("viewer",), "scopes": ("payments:write",)}, "could do nothing"),
        ({"roles": (), "scopes": ("crm read",)}, "names the scope"),
        ({"roles": (), "scopes": ("crm:*:read",)}, "names the scope"),
        ({"roles": ("viewer",), "tenant": ""}, "Give a name that people can read"),
        ({"roles": ("viewer",), "tenant": "a\0b"}, "Give a name that people can read"),
        ({"roles": ("viewer",), "expires_us": 5}, "expired already"),
        ({"roles": ("viewer",), "rate_per_minute": 0}, "0 calls a minute"),
    ],
)
def test_a_key_that_cannot_be_meant_is_refused(access: Access, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(MisuseError, match=message):
        access.create_key("bob", **arguments)  # type: ignore[arg-type]
    assert access.keys() == []


def test_a_role_that_was_taken_out_of_the_file_grants_nothing(settings: Settings) -> None:
    folder = settings.home / "policy"
    folder.mkdir()
    (folder / "roles.toml").write_text('[guest]\nscopes = ["crm:read"]\n[owner]\nscopes = ["*"]\n')
    ticks = Ticks()
    access = Access(settings, ticks=ticks)
    _, token = access.create_key("bob", roles=("guest",))
    assert access.authenticate(f"Bearer {token}").scopes == {"crm:read"}
    (folder / "roles.toml").write_text('[owner]\nscopes = ["*"]\n')
    ticks.at = 1.0
    assert access.authenticate(f"Bearer {token}") == Caller(
        tenant="local", subject="bob", roles=("guest",), credential=access.keys()[0].id, method="key"
    )


def test_a_key_can_carry_a_rate_of_its_own(access: Access) -> None:
    _, usual = access.create_key("bob", roles=("viewer",))
    _, wide = access.create_key("robot", roles=("viewer",), rate_per_minute=50_000)
    assert access.authenticate(f"Bearer {usual}").rate_per_minute is None
    assert access.authenticate(f"Bearer {wide}").rate_per_minute == 50_000


@pytest.mark.stores("sqlite")
def test_keys_made_before_they_could_carry_a_rate_still_work(settings: Settings) -> None:
    before = Access(settings)
    _, token = before.create_key("bob", roles=("viewer",))
    before.close()
    with contextlib.closing(sqlite3.connect(settings.home / "control.db")) as db:
        db.execute("alter table api_keys drop column rate_per_minute")
    access = Access(settings)
    assert access.authenticate(f"Bearer {token}").subject == "bob"
    _, other = access.create_key("robot", roles=("viewer",), rate_per_minute=7)
    assert access.authenticate(f"Bearer {other}").rate_per_minute == 7
