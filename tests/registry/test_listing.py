"""Which tool definitions and names are accepted, what is made of them, and why others are not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.registry.conftest import tool
from workbench.events import JSON, MisuseError, UnreachableError
from workbench.registry import RpcError, ServerSpec
from workbench.registry.definitions.lenient_definition import presented
from workbench.registry.definitions.listing import definition_hash, list_tools, read_definitions
from workbench.registry.definitions.name_checks import confusable, server_id, skeleton

FOREIGN = ServerSpec(id="far", kind="url", url="https://far.example/mcp")
OWN = ServerSpec(id="crm", kind="bundled", trust="bundled")


def scopes(spec: ServerSpec, **more: Any) -> tuple[str, ...]:
    return read_definitions(spec, [tool("t", **more)]).tools[0].scopes


def test_a_definition_becomes_a_tool_and_is_kept_as_it_was() -> None:
    definition = tool(
        "find",
        "Finds.",
        title="Find it",
        outputSchema={"type": "object"},
        annotations={"readOnlyHint": True},
        somethingNew={"x": 1},
    )
    (made,) = read_definitions(FOREIGN, [definition]).tools
    assert made.qualified == "far.find"
    assert (made.title, made.description, made.read_only) == ("Find it", "Finds.", True)
    assert made.output_schema == {"type": "object"}
    assert made.definition == definition
    assert made.definition_hash == definition_hash(definition)


def test_the_title_may_stand_in_the_annotations() -> None:
    (made,) = read_definitions(FOREIGN, [tool("find", annotations={"title": "Find it"})]).tools
    assert made.title == "Find it"


def test_scopes_of_our_own_servers_are_their_labels() -> None:
    assert scopes(OWN, _meta={"workbench/scopes": ["crm:read", "crm:read:pii", "crm:read"]}) == (
        "crm:read",
        "crm:read:pii",
    )
    assert scopes(OWN) == ("crm:write",)
    assert scopes(OWN, annotations={"readOnlyHint": True}) == ("crm:read",)


@pytest.mark.parametrize("labels", [["crm read"], [7], ["crm:read", ""], [""]])
def test_an_unreadable_label_opens_nothing(labels: list[Any]) -> None:
    assert scopes(OWN, _meta={"workbench/scopes": labels}) == ("*",)


def test_labels_of_strangers_do_not_count() -> None:
    assert scopes(FOREIGN, _meta={"workbench/scopes": ["public"]}) == ("far:write",)
    assert scopes(FOREIGN, annotations={"readOnlyHint": True}) == ("far:read",)
    assert scopes(FOREIGN, annotations={"readOnlyHint": "true"}) == ("far:write",)


def nested(depth: int) -> JSON:
    schema: JSON = {"type": "object"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"x": schema}}
    return schema


REFUSED = [
    ({"name": "t", "inputSchema": False}, "allows nothing"),
    ({"name": "t", "inputSchema": {"type": "array"}}, "would have to be array"),
    (tool("x" * 5000), "more than 4,096 characters"),
    (tool("\ud800"), "cannot be written as JSON"),
    ({"name": "t", "inputSchema": {"maximum": 2**70}}, "cannot be written as JSON"),
    (tool("t", "x" * 300_000), "bytes; at most"),
    ({"name": "t", "inputSchema": nested(120)}, "nested deeper than"),
    ("text", "it is str"),
    ({"title": "x"}, "it is NoneType"),
    (tool("t") | {"name": 7}, "it is int"),
    (tool("t") | {"name": None}, "it is NoneType"),
    (tool("t") | {"name": ["t"]}, "it is list"),
    (None, "it is NoneType"),
]


@pytest.mark.parametrize(("definition", "why"), REFUSED, ids=[why[:25] for _, why in REFUSED])
def test_a_definition_that_could_mislead_is_refused_with_the_reason(definition: Any, why: str) -> None:
    listing = read_definitions(FOREIGN, [definition, tool("good")])
    assert [t.name for t in listing.tools] == ["good"]
    assert why in " ".join(listing.refused.values())


def test_tools_whose_names_resemble_each_other_are_all_offered_and_say_so() -> None:
    names = ["read_file", "read_fi1e", "Read_File", "readFile", "list1", "listl", "modern", "modem", "mail", "mall"]
    listing = read_definitions(FOREIGN, [tool(name) for name in names])
    assert {t.name for t in listing.tools} == set(names)
    noted = {t.name for t in listing.tools if t.notes}
    assert noted == {"read_file", "read_fi1e", "Read_File", "readFile", "list1", "listl", "modern", "modem"}
    assert not listing.refused


def test_of_two_definitions_with_one_name_the_first_is_used_and_the_others_are_named() -> None:
    listing = read_definitions(FOREIGN, [tool("a"), tool("a", "Other."), tool("a", "Third.")])
    assert [t.description for t in listing.tools] == [""]
    assert listing.refused == dict.fromkeys(("a", "a (2)"), "It is listed twice. The first of both is used.")


def test_every_definition_without_a_usable_name_is_named_among_those_left_out() -> None:
    nameless: list[Any] = [tool("x") | {"name": name} for name in (None, None, 7, True, {}, [])]
    listing = read_definitions(FOREIGN, [*nameless, tool("good")])
    assert [t.name for t in listing.tools] == ["good"]
    assert set(listing.refused) == {"None", "None (2)", "7", "True", "{}", "[]"}


def test_a_lone_surrogate_in_a_description_costs_one_character() -> None:
    (made,) = read_definitions(FOREIGN, [tool("t", "bad \ud800 char")]).tools
    assert made.description == "bad \ufffd char"


def test_order_does_not_depend_on_the_server() -> None:
    names = ["b", "a", "C", "d.e"]
    forth = read_definitions(FOREIGN, [tool(n) for n in names]).tools
    back = read_definitions(FOREIGN, [tool(n) for n in reversed(names)]).tools
    assert forth == back


def test_the_hash_covers_what_people_and_models_decide_by_and_nothing_else() -> None:
    base = tool("t", "d", annotations={"readOnlyHint": True})
    assert definition_hash(base) == definition_hash({**base, "_meta": {"x": 1}, "icons": [], "title": None})
    for change in (
        {"name": "u"},
        {"title": "T"},
        {"description": "D"},
        {"inputSchema": {}},
        {"outputSchema": {}},
        {"annotations": {}},
    ):
        assert definition_hash(base) != definition_hash({**base, **change})


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
fields = st.sampled_from(["name", "title", "description", "inputSchema", "outputSchema", "annotations", "_meta"])


@given(
    st.lists(st.dictionaries(fields, anything | st.sampled_from(["a", "A", "list"]), max_size=7) | anything, max_size=4)
)
def test_whatever_is_listed_is_taken_or_refused(definitions: list[Any]) -> None:
    listing = read_definitions(FOREIGN, definitions)
    assert len(listing.tools) + len(listing.refused) <= len(definitions)
    assert (len(listing.tools) + len(listing.refused) > 0) == bool(definitions)


class Paged:
    """A connection whose tools/list answers are scripted: for what the SDK's own server would never send."""

    era, capabilities = "2026-07-28", {"tools": {}}

    def __init__(self, *pages: Any) -> None:
        self.pages = list(pages)
        self.cursors: list[Any] = []

    async def request(self, method: str, params: JSON, *, timeout: float, **_: Any) -> Any:
        self.cursors.append(params.get("cursor"))
        page = self.pages[min(len(self.cursors), len(self.pages)) - 1]
        if isinstance(page, Exception):
            raise page
        return page


async def test_pages_are_followed_by_their_cursors() -> None:
    wire: Any = Paged({"tools": [tool("a")], "nextCursor": "1"}, {"tools": [tool("b")], "nextCursor": ""})
    assert [t.name for t in (await list_tools(FOREIGN, wire, 1.0)).tools] == ["a", "b"]
    assert wire.cursors == [None, "1"]


@pytest.mark.parametrize(
    ("page", "why"),
    [
        ({"tools": [tool(f"t{n}") for n in range(10_001)]}, "more than 10000 tools"),
        ({"tools": {"a": 1}}, "without a list"),
        ({}, "without a list"),
    ],
)
async def test_a_list_that_never_ends_or_is_none_is_given_up(page: JSON, why: str) -> None:
    wire: Any = Paged(page)
    with pytest.raises(UnreachableError, match=why):
        await list_tools(FOREIGN, wire, 1.0)


async def test_a_cursor_that_stands_still_ends_the_list_and_costs_nothing() -> None:
    wire: Any = Paged({"tools": [tool("a")], "nextCursor": "again"})
    listing = await list_tools(FOREIGN, wire, 1.0)
    assert [t.name for t in listing.tools] == ["a"]
    assert wire.cursors == [None, "again"]
    assert listing.refused == {}
    moves_once: Any = Paged({"tools": [tool("a")], "nextCursor": "1"}, {"tools": [tool("b")], "nextCursor": "1"})
    assert [t.name for t in (await list_tools(FOREIGN, moves_once, 1.0)).tools] == ["a", "b"]


async def test_ever_new_cursors_come_to_an_end() -> None:
    wire: Any = Paged(*({"tools": [], "nextCursor": str(n)} for n in range(600)))
    with pytest.raises(UnreachableError, match="never end"):
        await list_tools(FOREIGN, wire, 1.0)
    assert len(wire.cursors) == 500


async def test_an_error_while_listing_is_passed_on() -> None:
    wire: Any = Paged(RpcError(-32603, "broken"))
    with pytest.raises(RpcError, match="broken"):
        await list_tools(FOREIGN, wire, 1.0)


def test_ids_are_made_of_names_or_refused() -> None:
    assert server_id("My Server!") == "My-Server"
    assert server_id("a.b", ["a_c"]) == "a-b"
    for name, taken in (
        ("crm", ["crm"]),
        ("CRM", ["crm"]),
        ("a_b", ["a-b"]),
        ("Workbench", []),
        ("x" * 49, []),
        ("!", []),
    ):
        with pytest.raises(MisuseError):
            server_id(name, taken)


def test_look_alikes_share_a_skeleton() -> None:
    for one, other in (("files", "fi1es"), ("FILES", "FlLES"), ("modern", "modem"), ("payment0", "paymentO")):
        assert skeleton(one) == skeleton(other)
        assert confusable(one, ["else", other]) == other
    assert confusable("mail", ["mall", "main"]) == ""


def test_clients_are_shown_the_repaired_parts_and_all_else_as_it_is() -> None:
    given = {
        "name": "t", "description": ["a", "b"], "title": 5, "inputSchema": {"type": "object", "required": None},
        "annotations": {"readOnlyHint": "yes"}, "icons": [], "_meta": 7, "somethingNew": {"x": 1},
    }  # fmt: skip
    (made,) = read_definitions(FOREIGN, [given]).tools
    assert made.definition == given
    assert presented(made) == {
        "name": "t", "description": "a\nb", "title": "5", "inputSchema": {"type": "object"}, "icons": [],
        "somethingNew": {"x": 1},
    }  # fmt: skip
    (right,) = read_definitions(FOREIGN, [tool("t", "d")]).tools
    assert presented(right) is right.definition
