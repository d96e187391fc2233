"""Settings know their source and refuse what cannot be meant; the state folder refuses what is not ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.config import FORMAT, Settings, meaning, names, open_control, prepare_home
from workbench.events import MisuseError


def load(tmp_path: Path, env: dict[str, str] | None = None, **given: object) -> Settings:
    return Settings.load(env=env or {}, cwd=tmp_path, **given)


def test_a_later_source_wins_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "workbench.toml").write_text("call_timeout = 10\nmax_turns = 3\nrate_per_minute = 5\n")
    home = tmp_path / "state"
    home.mkdir()
    (home / "config.toml").write_text("max_turns = 4\nrate_per_minute = 6\n")
    settings = load(tmp_path, {"WORKBENCH_RATE_PER_MINUTE": "7"}, home=home)
    assert (settings.call_timeout, settings.source_of("call_timeout")) == (10.0, "workbench.toml")
    assert (settings.max_turns, settings.source_of("max_turns")) == (4, str(home / "config.toml"))
    assert (settings.rate_per_minute, settings.source_of("rate_per_minute")) == (7, "WORKBENCH_RATE_PER_MINUTE")
    assert (settings.parallel_calls, settings.source_of("parallel_calls")) == (4, "default")


def test_the_state_folder_is_absolute_so_that_children_find_it(tmp_path: Path) -> None:
    assert load(tmp_path).home == tmp_path / ".workbench"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("port", "eighty", "1 to 65535"),
        ("port", "0", "1 to 65535"),
        ("audit_mode", "sometimes", "async, os, fsync, strict"),
        ("max_turns", "many", "a whole number"),
        ("max_turns", "0", "above zero"),
        ("call_timeout", "-1", "above zero"),
        ("app", "perhaps", "true or false"),
        ("servers", "crm,crmm", "Bundled servers are"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_with_what_was_expected(
    tmp_path: Path, name: str, text: str, expected: str
) -> None:
    with pytest.raises(MisuseError, match=expected) as caught:
        load(tmp_path, {f"WORKBENCH_{name.upper()}": text})
    assert name in str(caught.value)


def test_an_unknown_name_in_a_file_gets_a_did_you_mean(tmp_path: Path) -> None:
    (tmp_path / "workbench.toml").write_text("max_turn = 3\n")
    with pytest.raises(MisuseError, match="Did you mean 'max_turns'"):
        load(tmp_path)


def test_broken_toml_names_the_file_and_the_line(tmp_path: Path) -> None:
    (tmp_path / "workbench.toml").write_text("port = \n")
    with pytest.raises(MisuseError, match=r"workbench\.toml is not valid TOML.*line 1"):
        load(tmp_path)


def test_an_unknown_name_given_in_code_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MisuseError, match="no setting"):
        load(tmp_path, colour="red")


def test_authentication_off_is_only_for_loopback(tmp_path: Path) -> None:
    assert load(tmp_path, authentication=False).authentication is False
    with pytest.raises(MisuseError, match="Switch authentication on"):
        load(tmp_path, authentication=False, host="0.0.0.0")


def test_lists_come_from_text_or_from_toml(tmp_path: Path) -> None:
    assert load(tmp_path, {"WORKBENCH_SERVERS": "crm, tickets"}).servers == ("crm", "tickets")
    (tmp_path / "workbench.toml").write_text('servers = ["crm"]\nknowledge = ["docs", "~/notes"]\n')
    settings = load(tmp_path)
    assert settings.servers == ("crm",)
    assert settings.knowledge == (Path("docs"), Path("~/notes").expanduser())


def test_every_setting_says_what_it_means() -> None:
    for name in names():
        assert meaning(name).endswith(".")


def test_replacing_a_value_marks_it_as_given(tmp_path: Path) -> None:
    changed = load(tmp_path).replace(port="9000")
    assert (changed.port, changed.source_of("port")) == ("9000", "given")


@given(text=st.text(max_size=40), name=st.sampled_from(names()))
def test_no_text_in_the_environment_crashes(text: str, name: str) -> None:
    try:
        found = getattr(Settings.load(env={f"WORKBENCH_{name.upper()}": text}, cwd=Path("/nonexistent")), name)
    except MisuseError:
        return  # refused with a message; anything else would be a crash
    assert found is None or text == "" or found is not text or isinstance(found, str)


def test_a_new_state_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    home = prepare_home(tmp_path / "a" / "home")
    assert home.stat().st_mode & 0o777 == 0o700
    assert prepare_home(home) == home


def test_a_folder_with_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(MisuseError, match="no workbench state folder"):
        prepare_home(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["letter.txt"]


def test_a_folder_with_files_that_people_put_there_before_the_first_start_is_taken(tmp_path: Path) -> None:
    for file in ("config.toml", "profiles.toml", "retention.toml"):
        (tmp_path / file).write_text("")
    for folder in ("policy", "secrets", "lost+found"):
        (tmp_path / folder).mkdir()
    assert prepare_home(tmp_path) == tmp_path
    assert (tmp_path / "FORMAT").read_text() == FORMAT
    assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_a_start_that_was_killed_does_not_spoil_the_folder(tmp_path: Path) -> None:
    (tmp_path / "FORMAT.tmp").write_text("mcp-work")
    assert prepare_home(tmp_path) == tmp_path


def test_another_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "FORMAT").write_text("mcp-workbench state, format 99\n")
    with pytest.raises(MisuseError, match=r"format 99.*format 1"):
        prepare_home(tmp_path)
    assert (tmp_path / "FORMAT").read_text() != FORMAT


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(MisuseError, match="is a file"):
        prepare_home(tmp_path / "home")


def test_a_corrupt_control_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "control.db").write_bytes(b"not a database, but long enough to look at" * 100)
    with pytest.raises(MisuseError, match="not a readable database"):
        open_control(tmp_path)
    assert (tmp_path / "control.db").read_bytes().startswith(b"not a database")


def test_the_control_database_is_for_its_owner_alone(tmp_path: Path) -> None:
    open_control(tmp_path).close()
    assert (tmp_path / "control.db").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("given", ["crm.search=5, analytics.*=0.5", {"crm.search": 5, "analytics.*": "0.5"}])
def test_tables_of_numbers_are_read_from_text_and_from_toml(given: Any) -> None:
    assert Settings.load(tool_timeouts=given, env={}).tool_timeouts == {"crm.search": 5.0, "analytics.*": 0.5}


@pytest.mark.parametrize("given", ["crm", "crm=two", "crm=0", "crm=inf", "crm=nan"])
def test_tables_that_cannot_be_meant_are_refused(given: str) -> None:
    with pytest.raises(MisuseError, match="tool_timeouts"):
        Settings.load(env={"WORKBENCH_TOOL_TIMEOUTS": given})
