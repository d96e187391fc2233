"""Regular expressions as servers write them, and what the validator is given."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.registry.schemas.patterns import MAX_PATTERN, portable_pattern
from workbench.registry.schemas.validator import compile_schema

READ = [
    (r"^[a-z]+$", r"^[a-z]+$"),
    (r"[\w-a]", r"[\w\-a]"),
    (r"[a-\d]", r"[a\-\d]"),
    (r"[--\d]", r"[\-\-\d]"),
    (r"[^]", r"[\s\S]"),
    (r"a[]", r"a[^\s\S]"),
    (r"[^][a]", r"[\s\S][a]"),
    (r"x{a}", r"x\{a\}"),
    (r"a{,3}{", r"a{0,3}\{"),
    (r"{,3}{", None),
    (r"\u{1F600}{", r"\u{1f600}\{"),
    (r"\x41{", r"\x41\{"),
    (r"\cA{", r"\x01\{"),
    (r"\c1{", None),
    (r"\_\-{", r"_\-\{"),
    (r"\é{", r"é\{"),
    (r"(a)\1[\w-a]", r"(a)(?:\1)[\w\-a]"),
    (r"\12{b", r"\x0a\{b"),
    (r"\9{b", r"9\{b"),
    (r"(?<n>a)(?<m>b)\k<m>", r"(a)(b)(?:\2)"),
    (r"(?<n>a)\k<other>", None),
    (r"(?P=none)", None),
    (r"(?P=", None),
    (r"(?#a comment)a", "a"),
    (r"(?#a comment", None),
    (r"\p{L}{", r"\p{L}\{"),
    (r"[\p{L}-x]", r"[\p{L}\-x]"),
    (r"\ud83d{", None),
    (r"\ud83d\u0041", None),
    (r"\udc00", None),
    (r"\u{110000}", None),
    (r"\A\d{", r"\A\d\{"),
    (r"[\B]", None),
    (r"\e", None),
    ("[a", None),
    ("a\\", None),
    ("[\\", None),
    ("/^a$/gim", "(?im)^a$"),
    ("/^a$/", "^a$"),
    ("[\b\t é]{", r"[\x08\x09 é]\{"),
    ("a" * (MAX_PATTERN + 1), None),
]


@pytest.mark.parametrize(("given_", "read"), READ, ids=[repr(pattern)[:30] for pattern, _ in READ])
def test_a_pattern_is_read_in_the_syntax_of_the_engine_or_not_at_all(given_: str, read: str | None) -> None:
    assert portable_pattern(given_) == read


@given(pattern=st.text(alphabet="ab\\[](){}^$-.*+?|<>=!:1,0dwxuk/é", max_size=12))
def test_whatever_is_read_can_be_compiled(pattern: str) -> None:
    read = portable_pattern(pattern)
    if read is not None:
        compile_schema({"pattern": read})


members = st.text(alphabet="ab-.&~^_<>/#", min_size=1, max_size=6).filter(
    lambda text: not any(pair in text for pair in ("--", "&&", "~~"))  # Python warns of what it may once mean by these
)


@given(members=members, text=st.text("ab-.&~[]^_<>/#c", max_size=1))
def test_a_class_means_what_it_means_in_python(members: str, text: str) -> None:
    pattern = rf"^[\w{members}]$"
    read = portable_pattern(pattern)
    try:
        python = re.compile(pattern.replace(r"[\w-", r"[\w\-"), re.ASCII)
    except re.error:
        return
    assert read is not None
    assert compile_schema({"pattern": read}).is_valid(text) == bool(python.search(text))
