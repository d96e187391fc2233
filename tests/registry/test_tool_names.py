"""Under which names odd tools are presented: safe, stable, and each for one original alone."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.registry.conftest import tool
from workbench.registry import ServerSpec
from workbench.registry.definitions.listing import read_definitions
from workbench.registry.definitions.tool_names import (
    LONG_HASH_DIGITS,
    TOOL_NAME,
    is_hashed,
    safe_name,
    safe_names,
    wire_name,
)

FAR = ServerSpec(id="far", kind="url", url="https://far.example/mcp")
WIRE = re.compile(r"[a-zA-Z0-9_-]{1,64}")

KEPT = [
    "getItem", "get_item", "get-item", "tool.with.dots", "_private", "-dash", "1starts", "resolve-library-id", "a" * 70,
    "b" * 128, ".", "__", "x__deadbeef",
]  # fmt: skip
ODD = [
    ("get user", "get_user"),
    (" padded ", "padded"),
    ("line\nbreak", "line_break"),
    ("github/create_issue", "github_create_issue"),
    ("ns:tool", "ns_tool"),
    ("tool@v2", "tool_v2"),
    ("échange", "echange"),
    ("ﬁle", "file"),
    ("查询", "tool"),
    ("🚀 launch", "launch"),
    ("", "tool"),
    ("...?", "tool"),
    ("a\u202eb", "a_b"),
    ("zero\u200bwidth", "zero_width"),
    ("esc\x1b[1m", "esc_1m"),
    ("nul\x00", "nul"),
    ("c" * 129, "c" * 119),
    ("../../etc/passwd", "etc_passwd"),
    ("resources/read", "resources_read"),
    ("a,b;c'd\"e`f", "a_b_c_d_e_f"),
]


@pytest.mark.parametrize("name", KEPT)
def test_a_name_that_is_safe_stays(name: str) -> None:
    (made,) = read_definitions(FAR, [tool(name)]).tools
    assert (made.name, made.original, made.upstream_name, made.notes) == (name, None, name, ())


@pytest.mark.parametrize(("original", "words"), ODD, ids=[ascii(name)[:20] for name, _ in ODD])
def test_an_odd_name_gets_a_safe_one_and_is_called_by_its_own(original: str, words: str) -> None:
    (made,) = read_definitions(FAR, [tool(original)]).tools
    assert re.fullmatch(re.escape(words) + "_[0-9a-f]{8}", made.name)
    assert TOOL_NAME.fullmatch(made.name)
    assert (made.original, made.upstream_name) == (original, original)
    assert made.definition["name"] == original
    assert "Its server calls it" in made.notes[0]
    assert not made.quarantined


def test_hidden_characters_of_a_name_are_said_and_written_out() -> None:
    (made,) = read_definitions(FAR, [tool("a\u202eb")]).tools
    assert "'a\\\\u202eb'" in made.notes[0]
    assert "U+202E RIGHT-TO-LEFT OVERRIDE" in made.notes[1]


@given(st.lists(st.text(max_size=20) | st.sampled_from([name for name, _ in ODD] + KEPT), max_size=12))
def test_safe_names_depend_on_the_original_alone_and_lead_back_to_it(originals: list[str]) -> None:
    names = safe_names(originals)
    assert all(TOOL_NAME.fullmatch(name) for name in names.values())
    assert len(set(names.values())) == len(set(originals))
    assert names == safe_names(reversed(originals))
    assert all(safe_names([original]) == {original: names[original]} for original in originals)


def test_who_takes_the_safe_name_of_another_tool_does_not_get_its_calls() -> None:
    odd, taken = "get user", safe_name("get user")
    names = safe_names([odd, taken])
    assert names[taken] == taken
    assert names[odd] == safe_name(odd, digits=LONG_HASH_DIGITS)


def test_a_wire_name_is_plain_where_it_can_be_read_back() -> None:
    assert wire_name("crm", "search_customers") == "crm__search_customers"
    assert wire_name("a", "_b") == "a___b"
    assert wire_name("a", "b__c") == "a__b__c"


@pytest.mark.parametrize(
    ("server", "name", "beginning"),
    [
        ("fs", "tool.with.dots", "fs__tool_with_dots"),
        ("fs", "x" * 100, "fs__" + "x" * 50),
        ("s" * 48, "read_everything", "s" * 48 + "__read"),
        ("a__b", "c", "a__b__c"),
        ("a_", "c", "a___c"),
        ("a", "deadbeef", "a__deadbeef"),
        ("a", "b__deadbeef", "a__b__deadbeef"),
        ("a", "查询", "a__tool"),
        ("a", "", "a__tool"),
    ],
)
def test_any_other_wire_name_ends_in_a_hash(server: str, name: str, beginning: str) -> None:
    wire = wire_name(server, name)
    assert re.fullmatch(re.escape(beginning) + "__[0-9a-f]{8}", wire)
    assert WIRE.fullmatch(wire)
    assert is_hashed(wire)


servers = st.from_regex(r"[ab][ab_-]{0,4}", fullmatch=True) | st.from_regex(r"[a-z][a-z_-]{0,47}", fullmatch=True)
tools = (
    st.from_regex(r"[ab_.-]{1,6}", fullmatch=True)
    | st.from_regex(r"[A-Za-z0-9_.-]{1,128}", fullmatch=True)
    | st.from_regex(r"b__[0-9a-f]{8}", fullmatch=True)
)


@given(st.sets(st.tuples(servers, tools), max_size=30))
@example({("a", "b__c"), ("a__b", "c"), ("a_", "_c"), ("a", "__c"), ("a_", "b"), ("a", "_b")})
def test_every_wire_name_means_one_tool_whatever_else_there_is(those: set[tuple[str, str]]) -> None:
    names: dict[str, Any] = {}
    for server, name in those:
        wire = wire_name(server, name)
        assert WIRE.fullmatch(wire)
        assert names.setdefault(wire, (server, name)) == (server, name)
