"""Patterns let through what they say and nothing else; arguments without a pattern stay the approved ones."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.events import MisuseError
from workbench.policy.approvals.argument_patterns import MAX_CHOICES, check_patterns, fits, matches, template

APPROVED: dict[str, Any] = {
    "amount": 10, "path": "/tmp/a", "status": "open", "items": [{"id": 1}, {"id": 2}], "a/b": "x", "m~n": None,
}  # fmt: skip
PATTERNS: dict[str, Any] = {
    "/amount": {"range": [0, 100]},
    "/path": {"prefix": "/tmp/"},
    "/status": {"enum": ["open", "closed"]},
    "/items/0/id": {"enum": [1, 3]},
    "/a~1b": {"enum": ["x", "y"]},
    "/m~0n": {"enum": [None, False]},
}


def allowed(**changed: Any) -> bool:
    expected = template(APPROVED, list(PATTERNS))
    assert expected is not None
    return matches({**APPROVED, **changed}, PATTERNS, expected)


@pytest.mark.parametrize(
    "changed",
    [
        {}, {"amount": 0}, {"amount": 100}, {"amount": 99.5}, {"path": "/tmp/"}, {"path": "/tmp/b/c.txt"},
        {"status": "closed"}, {"items": [{"id": 3}, {"id": 2}]}, {"a/b": "y"}, {"m~n": False},
        {"amount": 1, "path": "/tmp/z", "status": "closed"},
    ],
    ids=str,
)  # fmt: skip
def test_what_a_pattern_says_is_let_through(changed: dict[str, Any]) -> None:
    assert allowed(**changed)


@pytest.mark.parametrize(
    "changed",
    [
        {"amount": -1}, {"amount": 101}, {"amount": "10"}, {"amount": True}, {"amount": None}, {"amount": [10]},
        {"amount": float("nan")}, {"amount": float("inf")},
        {"path": "/tmp"}, {"path": "/etc/passwd"}, {"path": "/tmp/../etc/passwd"}, {"path": "/tmp/a/.."},
        {"path": "/tmp/%2e%2e/etc"}, {"path": "/tmp/%2E./etc"}, {"path": "/tmp/..%2fetc"}, {"path": "/tmp/a\\..\\b"},
        {"path": "/tmp/a\0"}, {"path": "/tmp/a\nb"}, {"path": ["/tmp/a"]}, {"path": {"/tmp/": 1}},
        {"status": "Open"}, {"status": "open "}, {"status": None}, {"items": [{"id": 1.0}, {"id": 2}]},
        {"items": [{"id": True}, {"id": 2}]}, {"items": [{"id": 1}, {"id": 3}]}, {"items": [{"id": 1}]},
        {"items": [{"id": 1}, {"id": 2}, {"id": 3}]}, {"items": [{"id": 1, "all": True}, {"id": 2}]},
        {"items": {"0": {"id": 1}, "1": {"id": 2}}}, {"m~n": 0}, {"m~n": ""}, {"force": True}, {"a/b": ["x"]},
    ],
    ids=str,
)  # fmt: skip
def test_everything_else_is_not(changed: dict[str, Any]) -> None:
    assert not allowed(**changed)


def test_a_missing_argument_is_another_call() -> None:
    expected = template(APPROVED, list(PATTERNS))
    for name in APPROVED:
        assert not matches({k: v for k, v in APPROVED.items() if k != name}, PATTERNS, expected or "")


def test_without_patterns_only_the_same_arguments_match() -> None:
    expected = template(APPROVED, []) or ""
    assert matches(dict(reversed(APPROVED.items())), {}, expected)
    assert not matches({**APPROVED, "amount": 11}, {}, expected)


@given(st.recursive(st.none() | st.booleans() | st.integers(-200, 200) | st.text(max_size=8), st.lists, max_leaves=4))
def test_a_pattern_never_takes_what_has_another_type(value: Any) -> None:
    assert fits({"range": [0, 100]}, value) == (type(value) is int and 0 <= value <= 100)
    assert not fits({"prefix": "/tmp/"}, value) or (type(value) is str and value.startswith("/tmp/"))
    assert fits({"enum": [1, "a"]}, value) == ((type(value) is int and value == 1) or value == "a")


@pytest.mark.parametrize(
    "patterns",
    [
        {"amount": {"range": [0, 1]}}, {"": {"enum": [1]}}, {"/none": {"enum": [1]}}, {"/items/9/id": {"enum": [1]}},
        {"/items/-/id": {"enum": [1]}}, {"/items/00/id": {"enum": [1]}}, {"/amount": {}}, {"/amount": {"any": True}},
        {"/amount": {"range": [0, 1]}}, {"/amount": {"range": [100, 0]}}, {"/amount": {"range": [0]}},
        {"/amount": {"range": ["0", "100"]}}, {"/amount": {"range": [0, float("inf")]}},
        {"/amount": {"range": [False, True]}}, {"/amount": {"range": [0, 100], "enum": [1]}}, {"/amount": 10},
        {"/path": {"prefix": ""}}, {"/path": {"prefix": "/var/"}}, {"/path": {"prefix": 1}},
        {"/status": {"enum": []}}, {"/status": {"enum": ["closed"]}}, {"/status": {"enum": [["open"]]}},
        {"/status": {"enum": ["open"] * (MAX_CHOICES + 1)}}, {"/items": {"enum": [1]}},
        {f"/x{n}": {"enum": [1]} for n in range(21)},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_pattern_or_does_not_fit_is_refused_with_a_hint(patterns: dict[str, Any]) -> None:
    with pytest.raises(MisuseError) as refused:
        check_patterns(patterns, APPROVED)
    assert refused.value.hint


@pytest.mark.parametrize("prefix", ["https://a.example", "ftp://a", "https://"])
def test_a_prefix_that_ends_inside_a_host_is_refused(prefix: str) -> None:
    with pytest.raises(MisuseError, match="name of a host"):
        check_patterns({"/url": {"prefix": prefix}}, {"url": "https://a.example/x"})
    check_patterns({"/url": {"prefix": "https://a.example/"}}, {"url": "https://a.example/x"})
