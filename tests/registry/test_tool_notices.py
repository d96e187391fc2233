"""What is said of the tools of a server: how many are held back, left out or repaired, why, and what to do."""

from __future__ import annotations

from workbench.events import Tool
from workbench.registry.definitions.tool_notices import tool_notices


def tool(name: str, why: str = "", repaired: bool = False) -> Tool:
    repairs = ({"where": "/inputSchema", "given": "", "read_as": ""},) if repaired else ()
    return Tool(server="far", name=name, quarantined=why, repairs=repairs)


def test_nothing_is_said_where_nothing_is_to_be_known() -> None:
    assert tool_notices([tool("a")], {}) == ()


def test_quarantined_tools_are_counted_with_the_reason_and_what_to_do() -> None:
    (notice,) = tool_notices([tool("a", "Changed."), tool("b", "Changed."), tool("c", "Hides text."), tool("d")], {})
    assert notice.startswith("3 tools are quarantined and cannot be called: a, b (Changed); c (Hides text).")
    assert "`workbench servers changes`" in notice


def test_tools_that_are_left_out_are_named_and_many_are_counted() -> None:
    (notice,) = tool_notices([], {f"t{n}": "Too deep." for n in range(7)} | {"x": "No name."})
    assert notice == "8 tools are left out: t0, t1, t2, t3, t4 and 2 more (Too deep); x (No name)."
    (notice,) = tool_notices([], {f"t{n}": f"Reason {n}." for n in range(7)})
    assert notice.endswith("; 2 more.")


def test_tools_with_another_name_than_their_server_gives_them_are_named() -> None:
    renamed = Tool(server="far", name="get_user_d77d8fbc", original="get user")
    (notice,) = tool_notices([tool("a"), renamed], {})
    assert notice.startswith("1 tool is called otherwise than by the server: get_user_d77d8fbc. `workbench tools`")


def test_repaired_tools_are_named() -> None:
    (notice,) = tool_notices([tool("a", repaired=True), tool("b")], {})
    assert "definitions of a are read otherwise" in notice
