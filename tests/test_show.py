"""How lists look outside of a notebook, and where texts are cut."""

from __future__ import annotations

import pytest

from workbench.client.results import Servers, Tools
from workbench.events import Tool, counted
from workbench.registry import ServerState
from workbench.show import brief


def test_a_list_of_tools_prints_as_a_table_without_definitions() -> None:
    definition = {"description": "Greets.", "inputSchema": {"type": "object", "properties": {"name": {}}}}
    tools = Tools(
        [Tool(server="tiny", name=f"greet{n}", description="Greets.", definition=definition) for n in range(9)]
    )
    lines = repr(tools).splitlines()
    assert len(lines) == 10
    assert lines[0].split()[0] == "tool"
    assert lines[1].split()[0] == "tiny.greet0"
    assert "inputSchema" not in repr(tools)


def test_a_server_that_failed_is_cut_after_a_word_in_its_table() -> None:
    why = "The program cannot be found " * 20 + "\nThis was failure 3 in a row."
    printed = repr(Servers([ServerState(id="typo", kind="command", status="failed", last_error=why)]))
    assert "…" in printed
    assert "This was failure" not in printed


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("short", 10, "short"),
        ("first line\nsecond", 40, "first line"),
        ("one two three", 10, "one two …"),
        ("unbreakable", 6, "unbr …"),
    ],
)
def test_texts_are_cut_after_a_word_of_their_first_line(text: str, width: int, shown: str) -> None:
    assert brief(text, width) == shown


@pytest.mark.parametrize(("number", "said"), [(0, "0 calls"), (1, "1 call"), (2, "2 calls"), (1000, "1,000 calls")])
def test_one_is_counted_in_the_singular(number: int, said: str) -> None:
    assert counted(number, "call") == said
