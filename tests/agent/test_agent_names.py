"""Names that every provider takes, one to one."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.agent.tool_steps import SEARCH
from workbench.agent.wire_tool_names import NAME, NameMap, safe_name
from workbench.events import MisuseError, Tool


def tool(server: str, name: str, **more: str) -> Tool:
    return Tool(server=server, name=name, **more)


def test_a_plain_name_is_server_and_tool() -> None:
    assert safe_name(tool("crm", "search_customers")) == "crm__search_customers"


def test_a_long_name_keeps_its_beginning_and_gets_a_hash() -> None:
    one, two = tool("server", "x" * 100), tool("server", "x" * 99)
    assert re.fullmatch(r"server__x{46}__[0-9a-f]{8}", safe_name(one))
    assert safe_name(one) != safe_name(two)


def test_names_that_providers_do_not_take_get_a_hash_in_any_order() -> None:
    tools = [tool("a", "b.c"), tool("a", "b_c"), tool("a", "b/c")]
    for order in itertools.permutations(tools):
        names = NameMap(order)
        assert {names.spec(t).name for t in tools} == {NameMap(tools).spec(t).name for t in tools}
        assert all(names.find(names.spec(t).name) == names.spec(t) for t in tools)
    assert len({NameMap(tools).spec(t).name for t in tools}) == 3


def test_a_hash_that_a_model_leaves_out_is_supplied_where_that_leaves_no_doubt() -> None:
    dotted, other = tool("a", "b.c"), tool("a", "b/c")
    found = NameMap([dotted]).find("a__b_c")
    assert found is not None
    assert found.tool is dotted
    assert NameMap([dotted, other]).find("a__b_c") is None
    plain = tool("a", "b_c")
    found = NameMap([dotted, plain]).find("a__b_c")
    assert found is not None
    assert found.tool is plain


def test_the_same_tool_twice_is_refused() -> None:
    with pytest.raises(MisuseError, match=r"Two tools are called 'a\.b'"):
        NameMap([tool("a", "b"), tool("a", "b")])


def test_a_foreign_server_cannot_take_the_name_of_what_is_built_in() -> None:
    foreign = tool("workbench_", "search_tools"), tool("workbench", "_search_tools")
    names = NameMap(foreign, reserved=(SEARCH,))
    assert names.spec(SEARCH).name == "workbench__search_tools"
    found = names.find("workbench__search_tools")
    assert found is not None
    assert found.tool is SEARCH
    with pytest.raises(MisuseError):
        NameMap([tool("workbench", "search_tools")], reserved=(SEARCH,))


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("search_customers", "crm__search_customers"),
        ("crm__search_custmers", "crm__search_customers"),
        ("serch_customers", "crm__search_customers"),
        ("search.customers", "crm__search_customers"),
        ("payments", "payments__list"),
    ],
)
def test_what_may_have_been_meant_is_offered(said: str, meant: str) -> None:
    names = NameMap([tool("crm", "search_customers"), tool("payments", "list"), tool("tickets", "open")])
    assert names.find(said) is None
    assert names.suggestions(said)[0] == meant


def test_nothing_is_suggested_for_nothing() -> None:
    assert NameMap([tool("crm", "x")]).suggestions("") == []


def test_a_long_description_is_cut_for_the_wire_and_whole_on_the_tool() -> None:
    long = tool("a", "b", description="d" * 5000)
    spec = NameMap([long]).spec(long)
    assert len(spec.description) == 1024
    assert spec.description.endswith("…")
    assert len(spec.tool.description) == 5000


def test_a_tool_without_description_is_told_by_its_title_or_name() -> None:
    titled, bare = tool("a", "b", title="Do it"), tool("a", "c")
    names = NameMap([titled, bare])
    assert (names.spec(titled).description, names.spec(bare).description) == ("Do it", "c")


parts = st.text(min_size=1, max_size=90)


@given(st.lists(st.tuples(parts, parts), max_size=8, unique_by=lambda pair: f"{pair[0]}.{pair[1]}"))
def test_any_names_are_safe_and_lead_back(pairs: list[tuple[str, str]]) -> None:
    tools = [tool(server, name) for server, name in pairs]
    names = NameMap(tools)
    assert len({names.spec(t).name for t in tools}) == len(tools)
    for t in tools:
        spec = names.spec(t)
        assert NAME.fullmatch(spec.name)
        assert names.find(spec.name) is spec
        assert spec.tool is t
