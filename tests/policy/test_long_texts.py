"""What is searched in pieces is found wherever it stands, also across the border of two."""

from __future__ import annotations

import pytest

from workbench import scanning
from workbench.policy.redaction import recognizers, secret_patterns

MAIL = "ann@example.com"
TOKEN = "authorization"


@pytest.mark.parametrize("shift", range(-len(MAIL) - 1, 2))
def test_personal_data_across_two_pieces_is_found(shift: int) -> None:
    text = "x" * (scanning.PIECE + shift - 1) + " " + MAIL + " " + "x" * 100
    assert recognizers.candidate(text)
    assert recognizers.suspicious(text)


@pytest.mark.parametrize("shift", range(-len(TOKEN) - 1, 2))
@pytest.mark.parametrize("kind", [str, bytes])
def test_a_hint_of_a_credential_across_two_pieces_is_found(shift: int, kind: type) -> None:
    text = "x" * (2 * secret_patterns.PIECE + shift) + TOKEN.upper() + "x" * 100
    assert secret_patterns.hinted(text if kind is str else text.encode())


def test_long_texts_without_anything_are_let_through() -> None:
    text = "plain words " * 50_000
    assert not recognizers.suspicious(text)
    assert not secret_patterns.hinted(text)
    assert not secret_patterns.hinted(text.encode())


@pytest.mark.parametrize("size", [0, 1, scanning.PIECE - 1, scanning.PIECE, scanning.PIECE + 1])
def test_the_last_piece_is_searched_too(size: int) -> None:
    assert not recognizers.candidate("x" * size)
    assert recognizers.candidate("x" * size + f" {MAIL}")


@pytest.mark.parametrize("hint", secret_patterns._HINTS)
def test_every_hint_counts_by_itself_in_upper_and_lower_case(hint: str) -> None:
    for text in (hint, hint.upper(), f"a{hint}\u00e9", f"1.{hint}?".upper()):
        assert secret_patterns.hinted(text)
        assert secret_patterns.hinted(text.encode())
