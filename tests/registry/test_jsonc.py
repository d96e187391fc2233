"""JSON with comments: the value is what an editor means, and every key knows its line."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.json_values import MAX_DEPTH
from workbench.registry.configuration.jsonc import MalformedJsonError, parse


def test_comments_and_trailing_commas_are_blank() -> None:
    text = """// first
    {
      "a": [1, 2, /* three */ ], // "b": 2
      "u": "http://x/*not*/ // a comment", /* over
      two lines */ "c": {"d": null,}, # a shell's comment
    }"""
    document = parse(text)
    assert document.value == {"a": [1, 2], "u": "http://x/*not*/ // a comment", "c": {"d": None}}
    assert document.lines[("a",)] == 3
    assert document.lines[("u",)] == 4
    assert document.lines[("c", "d")] == 5
    assert document.line(("c", "missing", 3)) == 5
    assert document.line(("nothing",)) == 1
    assert document.notices == ()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{a: 1, 'b-c': 'it is', $d: .5}", {"a": 1, "b-c": "it is", "$d": 0.5}),
        ("[0x1F, +1, 1., -.5e1, Infinity, True, None]", [31, 1, 1.0, -5.0, math.inf, True, None]),
        (r'"\u00e9\x41\ud83d\ude00\/"', "\u00e9A\U0001f600/"),
        ("\ufeff[1]", [1]),
        ('"two \\\nlines"', "two lines"),
    ],
)
def test_what_json5_permits_is_read(text: str, value: Any) -> None:
    assert parse(text).value == value


def test_slips_are_read_and_reported() -> None:
    document = parse('{"a": 1,\n"a": {"p": "C:\\Users\\me"}}')
    assert document.value == {"a": {"p": "C:\\Users\\me"}}
    assert [where for where, _ in document.notices] == [("a",), ("a", "p"), ("a", "p")]
    assert "is there twice" in document.notices[0][1]
    assert "escapes nothing" in document.notices[1][1]


def test_nesting_without_end_costs_that_value_alone() -> None:
    document = parse('{"deep": ' + '[{"a":' * 5000 + '"]"' + "}]" * 5000 + ', "b": 2}')
    assert document.value["b"] == 2
    (where, what) = document.notices[0]
    assert where[0] == "deep"
    assert str(MAX_DEPTH) in what


@pytest.mark.parametrize(
    "text",
    [
        *("[1,,2]", "{,}", "[,]", '{"a":1,,}', "1,", '{"a" 1}', "[1 2]", "tru", '"open', "'x", "{", "[", "", "/* open"),
        *("[" * 200, '{"a": ' * 200, "{1}", "[1}", "1e", "0x"),
    ],
)
def test_what_is_no_json_stays_none(text: str) -> None:
    with pytest.raises(MalformedJsonError):
        parse(text)


def test_the_place_of_a_slip_is_told_by_line_and_column() -> None:
    with pytest.raises(MalformedJsonError) as slip:
        parse('{\n  "a": 1\n  "b": 2}')
    assert (slip.value.line, slip.value.column) == (3, 3)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)


@given(value=json_values, indent=st.sampled_from([None, 0, 2]), ascii=st.booleans())
def test_plain_json_means_what_it_means(value: Any, indent: int | None, ascii: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii)
    document = parse(text)
    assert document.value == value
    assert document.notices == ()
    lines = text.split("\n")
    for path, line in document.lines.items():
        if path and isinstance(path[-1], str):
            assert json.dumps(path[-1], ensure_ascii=ascii) in lines[line - 1]
