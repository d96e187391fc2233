"""Every setting refuses what it cannot be, with its name, what was given and what is expected."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.config import Settings
from workbench.events import MisuseError
from workbench.setting_values import converted, is_authority, is_browser, is_host, is_network, is_url, port_range

FIELDS = {f.name: f for f in dataclasses.fields(Settings) if f.name != "sources"}
KINDS = {name: kind for name, kind in get_type_hints(Settings).items() if name in FIELDS}
NUMBERS = sorted(name for name, kind in KINDS.items() if kind in (int, float))
TABLES = sorted(name for name, kind in KINDS.items() if get_origin(kind) is Mapping)
LISTS = sorted(name for name, kind in KINDS.items() if get_origin(kind) is tuple)
PATHS = sorted(name for name, kind in KINDS.items() if kind in (Path, Path | None))
TEXTS = sorted(name for name, kind in KINDS.items() if kind is str)
CHOICES = sorted(name for name, kind in KINDS.items() if kind is bool or get_origin(kind) is Literal)
URLS = sorted(
    name
    for name in (*TEXTS, *LISTS)
    if name.endswith(("_url", "_origins", "_issuers", "_socket"))
    or name in ("url", "audit_witness", "audit_store", "audit_warehouse", "audit_sink", "audit_catalog", "audit_engine")
)


def load(name: str, value: Any) -> Settings:
    return Settings.load(env={}, cwd=Path("/nonexistent"), **{name: value})


def refused(name: str, value: Any) -> str:
    with pytest.raises(MisuseError) as caught:
        load(name, value)
    said = str(caught.value)
    assert name in said
    assert "Expected" in said or "Bundled servers are" in said
    return said


def test_every_setting_is_of_a_kind_that_these_tests_know_and_has_a_check() -> None:
    assert set(FIELDS) == {*NUMBERS, *TABLES, *LISTS, *PATHS, *TEXTS, *CHOICES}
    unchecked = [name for name in FIELDS if name not in CHOICES and FIELDS[name].metadata.get("check") is None]
    assert not unchecked, "give these settings a check of workbench.setting_values"


def test_every_default_is_accepted() -> None:
    settings = Settings.load(env={}, cwd=Path("/nonexistent"))
    for name, each in FIELDS.items():
        check = each.metadata.get("check")
        assert check is None or check.accepts(getattr(settings, name)), name


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", "-0.5", "1e400", "", "many", float("nan"), -1, True, []])
def test_numbers_are_finite_and_not_negative(name: str, value: Any) -> None:
    refused(name, value)


@pytest.mark.parametrize("name", sorted(set(NUMBERS) - {"cost_budget", "user_tokens_per_day", "user_cost_per_day"}))
def test_zero_is_refused_where_it_would_switch_something_off(name: str) -> None:
    check = FIELDS[name].metadata["check"]
    if check.least == 0 and not check.above:
        assert "0" in FIELDS[name].metadata["meaning"] or name == "audit_min_free_bytes"
        load(name, 0)
    else:
        refused(name, 0)


@given(name=st.sampled_from(NUMBERS), value=st.floats(max_value=-1e-9) | st.sampled_from([float("nan"), float("inf")]))
def test_no_negative_or_infinite_number_is_accepted_anywhere(name: str, value: float) -> None:
    refused(name, value)


@pytest.mark.parametrize("name", sorted(n for n in NUMBERS if KINDS[n] is int))
def test_a_fraction_is_no_whole_number(name: str) -> None:
    assert "2.5" in refused(name, 2.5)


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("value", ["crm", "=1", "crm=nan", "crm=inf", "crm=0", "crm=-1", {"crm": "x"}, {"\x1b": 1}, 5])
def test_tables_hold_good_numbers_under_names(name: str, value: Any) -> None:
    refused(name, value)


@pytest.mark.parametrize("name", ["secrets", "oauth_algorithms", "oauth_token_types"])
def test_lists_that_something_needs_are_not_empty(name: str) -> None:
    refused(name, [])


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("value", [5, {"a": 1}, ["\x1b[2J"], ["a\nb"], ["\u202eabc"] * 1])
def test_lists_are_lists_of_plain_texts(name: str, value: Any) -> None:
    if name == "knowledge" and value == ["\u202eabc"]:
        return  # the name of a folder may hold anything but control characters
    refused(name, value)


@pytest.mark.parametrize("name", URLS)
@pytest.mark.parametrize(
    "value",
    [
        "javascript:alert(1)", "JavaScript://x/%0aalert(1)", "file:///etc/passwd", "data:text/html,x", "ftp://x.example",
        "http://x.example:0", "http://x.example:70000", "http:///nohost", "http://a b.example", "http://x.example\\@y",
        "http://x\n.example", "vbscript:x",
    ],
)  # fmt: skip
def test_urls_are_of_a_scheme_that_can_be_used(name: str, value: str) -> None:
    said = refused(name, [value] if name in LISTS else value)
    assert FIELDS[name].metadata.get("secret") or repr(value)[1:12] in said


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("value", ["a\0b", "a\x1bb", "file:///etc/passwd", "javascript:alert(1)", "https://x/y", ["a"]])
def test_paths_are_paths(name: str, value: Any) -> None:
    refused(name, value)


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("value", ["\x00", "a\x07b", "two\nlines", " blank in front", "x" * 5000, [], 1.5, True])
def test_texts_are_one_line(name: str, value: Any) -> None:
    refused(name, value)


@pytest.mark.parametrize("name", CHOICES)
def test_choices_are_those_there_are(name: str) -> None:
    refused(name, "perhaps")
    if KINDS[name] is not bool:
        for choice in get_args(KINDS[name]):
            assert getattr(load(name, choice), name) == choice


@pytest.mark.parametrize("value", ["70000", "-1", "0", "0x50", "80 80", "８０８０", "http"])
@pytest.mark.parametrize("name", ["port", "app_port", "tls_port"])
def test_ports_are_ports(name: str, value: str) -> None:
    assert "1 to 65535" in refused(name, value)


@pytest.mark.parametrize("name", [n for n, f in FIELDS.items() if f.metadata.get("secret")])
def test_what_may_hold_a_password_is_not_repeated(name: str) -> None:
    said = refused(name, "mongodb://user:hunter2@x")
    assert "hunter2" not in said
    assert "hunter2" not in refused(name, ["hunter2"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("redis_url", "secret:env:WHERE"), ("redis_url", "redis://:${secret:WORD}@cache:6379/0"),
        ("redis_url", "unix:///run/redis.sock"), ("database_url", "postgresql:///db?host=/run/pg"),
        ("database_url", "postgres://u:p%40@a:1,b:2/db"), ("audit_witness", "/mnt/other disk/seen"),
        ("audit_store", "s3://bucket/prefix"), ("public_url", "https://tools.example/"), ("host", "::1"),
        ("host", "0.0.0.0"), ("spiffe_socket", "unix:///run/spire/agent.sock"), ("spiffe_socket", "tcp://127.0.0.1:8000"),
        ("allowed_hosts", "tools.example,box,far:9000,[::1]:80"), ("model", "qwen2.5-coder:7b"), ("port", 8800),
        ("allowed_origins", "https://app.example,http://box:6274,vscode-webview://abc123"), ("knowledge", "~/my notes"),
        ("oauth_audiences", "api://tools"), ("tenant", "Größe & Co"), ("max_turns", 3.0),
    ],
)  # fmt: skip
def test_what_people_use_is_accepted(name: str, value: Any) -> None:
    assert getattr(load(name, value), name)


def test_single_values_are_judged_as_they_are_written() -> None:
    assert [v for v in ("a", "a.b", "::1", "[::1]", "1.2.3.4", "a_b") if not is_host(v)] == []
    assert [v for v in ("a b", "a/b", "http://a", "1.2.3", "-a", "a..b", "", "a" * 254) if is_host(v)] == []
    assert is_authority("[::1]:80")
    assert not is_authority("a:0")
    assert not is_url("unix://", ("unix",))
    assert not is_url("http://[::1", ("http",))
    assert not is_browser("null")
    assert not is_browser("https://x/path")
    assert is_network("10.0.0.0/8")
    assert not is_network("10.0.0.0/99")
    assert port_range("443") == range(443, 444)
    assert port_range("1024-65535") == range(1024, 65536)
    assert port_range("9-1") is None


def test_a_folder_of_nobody_stays_as_it_is_written() -> None:
    assert converted(Path | None, "~nobody-of-that-name/x") == Path("~nobody-of-that-name/x")
