"""The vocabulary: what a name grants, what an outcome holds, and that everything survives the wire."""

from __future__ import annotations

import uuid

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench import events
from workbench.events import Caller, Outcome, RunDone, RunStarted, Tool, ToolAsked, ToolDone, Usage

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("held", "wanted", "granted"),
    [
        ("crm:read", "crm:read", True),
        ("crm:*", "crm:read", True),
        ("crm:*", "crm:read:pii", True),
        ("crm:read:*", "crm:read:pii", True),
        ("*", "anything", True),
        ("crm:read", "crm:read:pii", False),
        ("crm:*", "crm", False),
        ("crm:*", "crmx:read", False),
        ("crm:read:pii", "crm:read", False),
        ("", "crm:read", False),
    ],
)
def test_a_scope_is_held_directly_or_through_a_wider_one(held: str, wanted: str, granted: bool) -> None:
    assert Caller(tenant="t", subject="s", scopes=frozenset({held})).has(wanted) is granted


def test_ids_are_unique_version_7_and_sortable_by_time() -> None:
    made = [events.new_id() for _ in range(500)]
    assert len(set(made)) == 500
    assert {uuid.UUID(i).version for i in made} == {7}
    assert [i[:8] for i in made] == sorted(i[:8] for i in made)


def test_a_tool_without_annotations_is_neither_read_only_nor_destructive() -> None:
    tool = Tool(server="time", name="now")
    assert (tool.read_only, tool.destructive, tool.idempotent) == (False, False, False)
    assert tool.qualified == "time.now"


def test_a_read_only_tool_is_never_destructive_whatever_it_says_besides() -> None:
    tool = Tool(server="s", name="t", annotations={"readOnlyHint": True, "destructiveHint": True})
    assert not tool.destructive
    assert tool.idempotent


@pytest.mark.parametrize(
    ("result", "data"),
    [
        ({"structuredContent": {"total": 3}, "content": [{"type": "text", "text": "3"}]}, {"total": 3}),
        ({"structuredContent": [], "content": []}, []),
        ({"content": [{"type": "text", "text": '{"a": 1}'}]}, {"a": 1}),
        ({"content": [{"type": "text", "text": "plain"}, {"type": "text", "text": "words"}]}, "plain\nwords"),
        ({"content": [{"type": "image", "data": "…"}]}, [{"type": "image", "data": "…"}]),
        ({"content": []}, None),
        (None, None),
    ],
)
def test_the_data_of_an_outcome_is_its_most_useful_form(result: events.JSON | None, data: object) -> None:
    assert Outcome(kind="ok", call="c", result=result).data == data


@given(arguments=st.dictionaries(st.text(max_size=8), JSON, max_size=4), text=st.text())
def test_every_run_event_survives_the_wire(arguments: events.JSON, text: str) -> None:
    outcome = Outcome(kind="tool_error", call="c", tool="a.b", result={"content": [arguments]}, message=text)
    for event in (
        RunStarted(run="r", question=text, provider="planner", model="", is_llm=False, why=text),
        ToolAsked(run="r", step="1", tool="a.b", arguments=arguments),
        ToolDone(run="r", step="1", tool="a.b", outcome=outcome),
        RunDone(run="r", status="answered", answer=text, turns=1, calls=1, usage=Usage(input_tokens=3), elapsed_us=1),
    ):
        try:
            encoded = msgspec.json.encode(event)
        except UnicodeEncodeError:  # a lone surrogate is no Unicode text; the wire cannot hold it
            continue
        assert events.run_event(msgspec.json.decode(encoded)) == event


def test_what_is_no_run_event_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        events.run_event({"event": "Nothing", "run": "r"})


@given(JSON)
def test_the_digest_depends_on_content_and_not_on_the_order_of_keys(value: object) -> None:
    assert events.digest({"a": value, "b": 1}) == events.digest({"b": 1, "a": value})
    assert events.digest({"a": value, "b": 1}) != events.digest({"a": value, "b": 2})


def test_usage_adds_up() -> None:
    total = Usage(input_tokens=1, output_tokens=2, cost_usd=0.5) + Usage(input_tokens=10, cached_tokens=4)
    assert total == Usage(input_tokens=11, output_tokens=2, cached_tokens=4, cost_usd=0.5)


def test_an_error_shows_message_and_hint() -> None:
    assert (
        str(events.MisuseError("The port is 'x'.", hint="Expected a number.")) == "The port is 'x'. Expected a number."
    )
