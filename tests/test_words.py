"""Words of texts and identifiers, as the search over tools and the planner read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.agent.planner.language.lexicon import STOP, split, stem
from workbench.registry.tool_search import words
from workbench.word_forms import STOP_WORDS, pieces, singular


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("getCustomerByEmail", ["get", "Customer", "By", "Email"]),
        ("HTTPServer", ["HTTP", "Server"]),
        ("due-date and due_date", ["due", "date", "and", "due", "date"]),
        ("", []),
    ],
)
def test_identifiers_come_apart_at_punctuation_and_changes_of_case(text: str, found: list[str]) -> None:
    assert pieces(text) == found


@pytest.mark.parametrize(
    ("plural", "one"),
    [
        ("orders", "order"),
        ("cities", "city"),
        ("boxes", "box"),
        ("status", "status"),
        ("glass", "glass"),
        ("gas", "gas"),
    ],
)
def test_plurals_lose_their_ending_and_other_words_keep_theirs(plural: str, one: str) -> None:
    assert singular(plural) == one


@given(st.text(max_size=40))
def test_search_and_planner_find_the_same_words_in_a_text(text: str) -> None:
    assert split(text) == tuple(piece.lower() for piece in pieces(text))


def test_search_and_planner_leave_the_same_words_out() -> None:
    assert STOP_WORDS <= STOP
    assert words(" ".join(sorted(STOP_WORDS))) == []
    assert stem("orders") == words("orders")[0]
