"""JSON with comments: the value is what an editor means, and every key knows its line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.registry.jsonc import Malformed, parse


def test_comments_and_trailing_commas_are_blank() -> None:
    text = """// first
    {
      "a": [1, 2, /* three */ ], // "b": 2
      "u": "http://x/*not*/ // a comment", /* over
      two lines */ "c": {"d": null,},
    }"""
    document = parse(text)
    assert document.value == {"a": [1, 2], "u": "http://x/*not*/ // a comment", "c": {"d": None}}
    assert document.lines[("a",)] == 3
    assert document.lines[("u",)] == 4
    assert document.lines[("c", "d")] == 5
    assert document.line(("c", "missing", 3)) == 5
    assert document.line(("nothing",)) == 1


@pytest.mark.parametrize("text", ["[1,,2]", "{,}", "[,]", '{"a":1,,}', "1,", '{"a" 1}', "[1 2]", "tru", '"open', "'x'"])
def test_what_is_no_json_stays_none(text: str) -> None:
    with pytest.raises(Malformed):
        parse(text)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)


@given(value=json_values, indent=st.sampled_from([None, 0, 2]))
def test_plain_json_means_what_it_means(value: Any, indent: int | None) -> None:
    text = json.dumps(value, indent=indent)
    document = parse(text)
    assert document.value == value
    lines = text.split("\n")
    for path, line in document.lines.items():
        if path and isinstance(path[-1], str):
            assert json.dumps(path[-1]) in lines[line - 1]
