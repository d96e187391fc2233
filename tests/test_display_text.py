"""Text of strangers, as a terminal, an error message or a page shows it."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.display_text import (
    UNSEEN_CATEGORIES,
    all_visible,
    hidden_character,
    one_line,
    shortened,
    terminal_text,
    visible_excerpt,
    without_hidden,
)

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"


def test_a_terminal_is_shown_controls_and_what_reorders_or_hides_as_escapes() -> None:
    assert terminal_text("a\x1b[2Jb\r\x9bc") == "a\\x1b[2Jb\\x0d\\x9bc"
    assert terminal_text("pay \u202eeman\u200b") == "pay \\u202eeman\\u200b"
    assert terminal_text("tag \U000e0041") == "tag \\U000e0041"


@pytest.mark.parametrize("text", ["one\n\ttwo", "Grüße", FAMILY, "שלום\u200f", "\u2603\ufe0f"])
def test_a_terminal_is_shown_ordinary_text_as_it_is(text: str) -> None:
    assert terminal_text(text) == text


@given(st.text())
def test_a_terminal_never_gets_what_it_obeys(text: str) -> None:
    assert not {c for c in terminal_text(text) if unicodedata.category(c) == "Cc"} - {"\t", "\n"}


@given(st.text())
def test_one_line_has_no_character_without_a_shape_and_no_run_of_blanks(text: str) -> None:
    line = one_line(text)
    assert not any(unicodedata.category(c) in UNSEEN_CATEGORIES for c in line)
    assert line == " ".join(line.split())


def test_one_line_of_words_is_the_words() -> None:
    assert one_line("  not\r\n found\x00:\u202e x ") == "not found : x"


@pytest.mark.parametrize("name", ["a\u202eb", "a\u200bb", "a\nb", "tag\U000e0041", "filler\u3164", "\ue000", "\ud800"])
def test_a_name_with_what_nobody_sees_is_not_all_visible(name: str) -> None:
    assert not all_visible(name)


@pytest.mark.parametrize("name", ["My App", "Größe 3", "\u2603\ufe0f App", "שלום"])
def test_ordinary_names_are_all_visible(name: str) -> None:
    assert all_visible(name)


@given(st.text())
def test_without_hidden_leaves_only_characters_that_are_seen_and_can_be_written(text: str) -> None:
    kept = without_hidden(text)
    assert not any(hidden_character(c) for c in kept)
    assert kept.encode().decode() == kept


def test_long_text_ends_with_an_ellipsis_within_its_limit() -> None:
    assert shortened("abcdef", 6) == "abcdef"
    assert shortened("abcdefg", 6) == "abcde…"


def test_an_excerpt_is_within_its_limit_after_hidden_characters_were_written_out() -> None:
    assert visible_excerpt("a\u200bbc", 3) == "a\\u"
    assert visible_excerpt(None, 3) == ""
