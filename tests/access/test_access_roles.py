"""Roles and the local user: shipped data, an edited copy, one private token, and reasons."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.access import Access, UnauthenticatedError, local_user
from workbench.access.roles import covers, narrowed, read_roles, write_roles
from workbench.config import Settings
from workbench.events import Caller, MisuseError, Tool

CRM_WRITE = Tool(server="crm", name="update_customer", scopes=("crm:read", "crm:write"))


def test_the_shipped_roles_grow_from_viewer_to_owner() -> None:
    roles = read_roles(None)
    assert list(roles.roles) == ["owner", "admin", "manager", "employee", "viewer"]
    order = ["viewer", "employee", "manager", "admin", "owner"]
    for less, more in pairwise(order):
        for scope in roles.scopes((less,)):
            assert roles.granting((more,), scope), f"{more} lacks {scope} of {less}"
    assert roles.scopes(("owner",)) == {"*"}
    for name in ("viewer", "employee"):
        assert not roles.granting((name,), "pii:read")
        assert not roles.granting((name,), "approvals:decide")
    for name in ("viewer", "employee", "manager", "admin"):
        assert not roles.granting((name,), "approvals:self")


def test_an_edited_copy_in_the_state_folder_replaces_the_shipped_roles(settings: Settings) -> None:
    (settings.home / "policy").mkdir()
    (settings.home / "policy" / "roles.toml").write_text('[clerk]\nscopes = ["crm:read"]\n[owner]\nscopes = []\n')
    access = Access(settings)
    assert list(access.roles.roles) == ["clerk", "owner"]
    assert access.local_caller().scopes == frozenset()
    assert access.authenticate(f"Bearer {access.local_key()}").scopes == frozenset()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[clerk\n", "not readable TOML"),
        ('clerk = "crm:read"\n', "no list of scopes"),
        ('[clerk]\nscopes = "crm:read"\n', "no list of scopes"),
        ('[clerk]\nscopes = ["crm read"]\n', "names the scope 'crm read'"),
        ("[clerk]\nscopes = [5]\n", "names the scope 5"),
        ('[clerk]\nscope = ["*"]\nscopes = []\n', "has the key 'scope'"),
        ("\xff", "not readable TOML"),
        ('[clerk]\nscopes = ["crm:read"]\n', "no role 'owner'"),
    ],
)
def test_a_broken_roles_file_is_refused_at_the_start_and_ignored_later(
    settings: Settings, text: str, message: str
) -> None:
    now = [0.0]
    access = Access(settings, ticks=lambda: now[0])
    _, token = access.create_key("bob", roles=("employee",))
    folder = settings.home / "policy"
    folder.mkdir()
    (folder / "roles.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(MisuseError, match=message):
        Access(settings)
    now[0] = 1.0
    assert access.authenticate(f"Bearer {token}").has("crm:read")
    assert "those before still are" in access.problem
    (folder / "roles.toml").write_text('[employee]\nscopes = ["tickets:read"]\n[owner]\nscopes = ["*"]\n')
    now[0] = 2.0
    assert access.authenticate(f"Bearer {token}").scopes == {"tickets:read"}
    assert access.problem == ""


SCOPES = st.lists(st.sampled_from(["crm", "read", "pii", "x"]), min_size=1, max_size=3).map(":".join)
GRANTS = st.one_of(SCOPES, SCOPES.map(lambda s: s + ":*"), st.just("*"))


@given(st.frozensets(GRANTS, max_size=4), st.frozensets(GRANTS, max_size=4), SCOPES)
def test_a_narrowed_grant_is_exactly_what_both_sides_cover(
    granted: frozenset[str], asked: frozenset[str], scope: str
) -> None:
    both = any(covers(g, scope) for g in granted) and any(covers(a, scope) for a in asked)
    assert any(covers(g, scope) for g in narrowed(granted, asked)) == both


# --- the local user ------------------------------------------------------------------------------


def test_the_local_token_is_made_once_private_and_of_the_owner(settings: Settings) -> None:
    access = Access(settings)
    token = access.local_key()
    assert access.local_key() == token
    assert Access(settings).local_key() == token
    path = settings.home / "token"
    assert path.read_text().strip() == token
    assert path.stat().st_mode & 0o777 == 0o600
    caller = access.authenticate(f"Bearer {token}")
    local = access.local_caller()
    assert (caller.tenant, caller.subject, caller.roles, caller.scopes) == (
        local.tenant,
        local.subject,
        local.roles,
        local.scopes,
    )
    assert len(access.keys()) == 1


@pytest.mark.slow
def test_processes_that_start_together_share_one_token(settings: Settings) -> None:
    program = (
        "import sys; from pathlib import Path; from workbench.access import Access; "
        "from workbench.config import Settings; "
        "home = Path(sys.argv[1]); sys.stdin.read();"
        "print(Access(Settings.load(env={}, cwd=home.parent, home=home)).local_key())"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(settings.home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    tokens = {process.communicate(timeout=30)[0].strip() for process in started}
    assert len(tokens) == 1
    assert len(Access(settings).keys()) == 1


def test_a_local_token_that_no_longer_works_is_replaced(settings: Settings) -> None:
    access = Access(settings)
    first = access.local_key()
    access.revoke(access.authenticate(f"Bearer {first}").credential)
    second = access.local_key()
    assert second != first
    assert access.authenticate(f"Bearer {second}").roles == ("owner",)
    with pytest.raises(UnauthenticatedError):
        access.authenticate(f"Bearer {first}")


def test_a_token_file_that_others_could_read_is_closed_and_a_link_is_not_followed(settings: Settings) -> None:
    access = Access(settings)
    token = access.local_key()
    path = settings.home / "token"
    path.chmod(0o644)
    assert access.local_key() == token
    assert path.stat().st_mode & 0o777 == 0o600
    elsewhere = settings.home.parent / "elsewhere"
    elsewhere.write_text(token)
    path.unlink()
    path.symlink_to(elsewhere)
    assert access.local_key() != token
    assert not path.is_symlink()
    assert elsewhere.read_text() == token


def test_a_user_id_without_an_account_still_has_a_name(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(local_user.getpass, "getuser", nobody)
    assert Access(settings).local_caller().subject == "local"


# --- reasons -------------------------------------------------------------------------------------


def test_an_explanation_names_the_role_or_what_is_missing(settings: Settings) -> None:
    access = Access(settings)
    _, employee = access.create_key("bob", roles=("employee",))
    _, manager = access.create_key("ann", roles=("manager",))
    _, narrow = access.create_key("cy", roles=("manager",), scopes=("crm:read",))
    _, bare = access.create_key("ci", roles=(), scopes=("crm:*",))

    no = access.explain(access.authenticate(f"Bearer {employee}"), CRM_WRITE)
    assert (no.allowed, no.missing) == (False, ("crm:write",))
    assert no.lines[1] == "crm:write: not granted by employee"

    yes = access.explain(access.authenticate(f"Bearer {manager}"), CRM_WRITE)
    assert (yes.allowed, yes.missing) == (True, ())
    assert yes.lines[0] == "crm:read: held as crm:*, through role manager (crm:*)"

    narrowed_key = access.explain(access.authenticate(f"Bearer {narrow}"), CRM_WRITE)
    assert not narrowed_key.allowed
    assert "the credential is narrower" in narrowed_key.lines[1]

    direct = access.explain(access.authenticate(f"Bearer {bare}"), CRM_WRITE)
    assert direct.allowed
    assert direct.lines[0] == "crm:read: held as crm:*, by the credential itself"


def test_a_tool_without_scopes_is_nobodys(settings: Settings) -> None:
    owner = Access(settings).local_caller()
    explained = Access(settings).explain(owner, Tool(server="a", name="b"))
    assert not explained.allowed
    assert "nobody may call it" in explained.lines[0]


def test_explaining_an_anonymous_caller_says_that_no_role_grants_it(settings: Settings) -> None:
    explained = Access(settings).explain(Caller(tenant="t", subject="s"), CRM_WRITE)
    assert explained.lines[0] == "crm:read: not granted by any role"


def test_the_shipped_roles_are_written_out_once_to_the_place_where_they_count(settings: Settings) -> None:
    path = write_roles(settings)
    assert path == settings.home / "policy" / "roles.toml"
    assert read_roles(path).roles == read_roles(None).roles
    assert Access(settings).roles.path == path
    path.write_text(path.read_text("utf-8").replace('"crm:read"', '"crm:read", "tiny:*"'), "utf-8")
    with pytest.raises(MisuseError, match=r"in force are in .*roles\.toml already"):
        write_roles(settings)
    assert "tiny:*" in Access(settings).roles.scopes(("employee",))


def test_the_roles_are_written_to_the_folder_of_the_rules_where_there_is_one(
    settings: Settings, tmp_path: Path
) -> None:
    assert write_roles(settings.replace(policy=tmp_path / "rules")) == tmp_path / "rules" / "roles.toml"


def test_an_explanation_says_how_to_grant_what_is_missing(settings: Settings) -> None:
    tool = Tool(server="tiny", name="greet", scopes=("tiny:write",))
    access = Access(settings)
    _, secret = access.create_key("bob", roles=["employee"])
    bob = access.authenticate(f"Bearer {secret}")
    remedy = access.explain(bob, tool).remedy
    assert remedy.startswith("`workbench access roles --write` ")
    assert 'add "tiny:write" to the scopes of employee' in remedy

    path = write_roles(settings)
    edited = Access(settings)
    assert edited.explain(bob, tool).remedy == f'To grant it, add "tiny:write" to the scopes of employee in {path}.'

    path.write_text(path.read_text("utf-8").replace('"servers:read",\n]', '"servers:read", "tiny:*",\n]'), "utf-8")
    granted = Access(settings)
    assert granted.explain(granted.authenticate(f"Bearer {secret}"), tool).allowed
    _, narrow = granted.create_key("eve", roles=["owner"], scopes=["crm:read"])
    assert "not narrowed" in granted.explain(granted.authenticate(f"Bearer {narrow}"), tool).remedy
    assert granted.explain(granted.local_caller(), tool).remedy == ""


def test_the_roles_that_the_documentation_shows_grant_what_it_says(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "access.md").read_text("utf-8")
    [shown] = re.findall(r"```toml\n(\[owner\].*?)```", page, re.S)
    path = tmp_path / "roles.toml"
    path.write_text(shown, "utf-8")
    roles = read_roles(path)
    assert roles.granting(("employee",), "tiny:write") == ("employee", "tiny:*")
    assert roles.granting(("owner",), "crm:write")
