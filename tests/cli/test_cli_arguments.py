"""What one types after `workbench call` becomes the arguments that the tool's schema wants."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.cli.tools import parse_arguments
from workbench.events import MisuseError

SCHEMA = {
    "properties": {
        "query": {"type": "string"},
        "limit": {"type": "integer"},
        "open": {"type": "boolean"},
        "since": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
        "amount": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "either": {"type": ["integer", "string"]},
    }
}


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        ("query=smith", {"query": "smith"}),
        ("query=42", {"query": "42"}),
        ("query=", {"query": ""}),
        ("query=a=b", {"query": "a=b"}),
        ("limit=5", {"limit": 5}),
        ("limit=five", {"limit": "five"}),
        ("open=true", {"open": True}),
        ("since=2026-01-01", {"since": "2026-01-01"}),
        ("amount=2.5", {"amount": 2.5}),
        ("tags=a,b", {"tags": ["a", "b"]}),
        ('tags=["a"]', {"tags": ["a"]}),
        ("either=5", {"either": "5"}),
        ("unknown=5", {"unknown": "5"}),
        ("limit:=5", {"limit": 5}),
        ('query:={"deep": [1]}', {"query": {"deep": [1]}}),
    ],
)
def test_a_pair_becomes_the_value_that_the_schema_wants(pair: str, expected: dict[str, object]) -> None:
    assert parse_arguments((pair,), None, SCHEMA) == expected


def test_pairs_win_over_the_document() -> None:
    assert parse_arguments(("limit=2",), '{"limit": 1, "query": "x"}', SCHEMA) == {"limit": 2, "query": "x"}


@pytest.mark.parametrize("pair", ["smith", "=smith", ":=5", ""])
def test_what_is_no_pair_is_refused_with_an_example(pair: str) -> None:
    with pytest.raises(MisuseError, match="key=text"):
        parse_arguments((pair,), None, SCHEMA)


@pytest.mark.parametrize(("document", "said"), [("{", "not JSON"), ("[1]", "JSON list"), ("", "not JSON")])
def test_a_document_that_is_no_object_is_refused(document: str, said: str) -> None:
    with pytest.raises(MisuseError, match=said):
        parse_arguments((), document, SCHEMA)


def test_json_that_does_not_parse_names_its_key() -> None:
    with pytest.raises(MisuseError, match="limit is not JSON"):
        parse_arguments(("limit:={",), None, SCHEMA)


@given(st.lists(st.text(), max_size=4), st.none() | st.text(max_size=30))
def test_nothing_that_can_be_typed_crashes(pairs: list[str], document: str | None) -> None:
    if document == "-":
        return
    try:
        found = parse_arguments(tuple(pairs), document, SCHEMA)
    except MisuseError:
        return
    assert isinstance(found, dict)
