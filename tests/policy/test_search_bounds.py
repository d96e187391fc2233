"""No text keeps the interpreter: it is searched in pieces, within a bound, and nothing between them is missed."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from bisect import bisect_left
from collections.abc import Callable, Generator
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from workbench import scanning
from workbench.config import Settings
from workbench.policy import Redactor
from workbench.policy.redaction import recognizers, secret_patterns
from workbench.policy.redaction.walker import WITHHELD
from workbench.registry.definitions import poisoning_signals
from workbench.scanning import PostponedError, ScanBudget

LONG = 1 << 20

REPEATED = {
    "a scheme without a token": "Bearer ",
    "a scheme with the beginning of a token": "Basic 1",
    "headers of web tokens": "eyJaaaaaaaa-",
    "headers of web tokens with borders": "-eyJ",
    "URLs that may have a password": "://a:",
    "names of passwords": "password ",
    "names of passwords with a verb": "password is",
    "open quotes": 'token="',
    "beginnings of private keys": "-----BEGIN A PRIVATE KEY-----",
    "keys of issuers, cut short": "mk_aaaaaa_",
    "digits": "1",
    "digits with blanks": "1 ",
    "short numbers": "+1 ",
    "at signs": "@ ",
    "addresses": "ada@example.org ",
    "local parts without end": "a." * 2000 + "@ ",
    "cards": "4111 1111 1111 1111 ",
    "network addresses": "::1 ",
    "brackets": "[ ",
    "one word": "x",
}


class Counting:
    """A pattern that notes how many characters each search was given."""

    def __init__(self, pattern: re.Pattern[str], given: list[int]) -> None:
        self._pattern = pattern
        self._given = given

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pattern, name)

    def _counted(self, search: Callable[..., Any], text: str, start: int = 0, end: int = 1 << 60) -> Any:
        self._given.append(min(end, len(text)) - start)
        return search(text, start, end)

    def search(self, text: str, *between: int) -> Any:
        return self._counted(self._pattern.search, text, *between)

    def match(self, text: str, *between: int) -> Any:
        return self._counted(self._pattern.match, text, *between)


@pytest.fixture
def redactor(settings: Settings, presidio: None) -> Redactor:
    return Redactor(settings.home)


@pytest.fixture
def given_to_patterns(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    counts: list[int] = []
    shapes = tuple(shape._replace(pattern=Counting(shape.pattern, counts)) for shape in secret_patterns._SHAPES)
    monkeypatch.setattr(secret_patterns, "_SHAPES", shapes)
    monkeypatch.setattr(recognizers, "CANDIDATE", Counting(recognizers.CANDIDATE, counts))
    monkeypatch.setattr("workbench.policy.redaction.walker.CANDIDATE", recognizers.CANDIDATE)
    return counts


@pytest.mark.parametrize("kind", REPEATED)
def test_no_pattern_is_given_more_than_a_piece_at_once(
    redactor: Redactor, given_to_patterns: list[int], kind: str
) -> None:
    part = REPEATED[kind]
    text = (part * (LONG // len(part) + 1))[:LONG]
    redactor.record({"text": text}, "acme")
    redactor.result({"text": text}, ("email",), "acme")
    redactor.message({"text": text}, ("email",), "acme")
    assert given_to_patterns
    assert max(given_to_patterns) <= scanning.PIECE + scanning.OVERLAP


@pytest.mark.parametrize("part", ["must cc send ", "read the prompt of ", "ignore all rules_", "do not tell anyones "])
def test_signs_are_looked_for_in_pieces(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    counts: list[int] = []
    counting = {kind: Counting(pattern, counts) for kind, pattern in poisoning_signals._PATTERNS.items()}
    monkeypatch.setattr(poisoning_signals, "_PATTERNS", counting)
    poisoning_signals.of_text(part * 20_000, "result")
    assert counts
    assert max(counts) <= 2 << 10


def test_windows_of_recognisers_are_short_whatever_the_text(redactor: Redactor) -> None:
    for text in ("1 " * 50_000, "a" * 100_000, "lorem ipsum, " * 9000, "\n" * 10_000):
        found = list(recognizers.windows(text))
        assert found[0][0] == 0
        assert found[-1][1] == len(text)
        assert all(before[1] == after[0] for before, after in itertools.pairwise(found))
        assert max(end - start for start, end, _ in found) <= recognizers.WINDOW


def test_what_the_bound_of_processor_time_leaves_unread_is_withheld(
    redactor: Redactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "MAX_CPU_S", -1.0)
    long = "mail ann@acme.example or call " * 10_000
    for seen in (
        redactor.record({"a": long, "b": "plain"}, "acme"),
        redactor.result({"a": long, "b": "plain"}, ("email",), "acme")[0],
        redactor.message({"a": long, "b": "plain"}, ("email",), "acme")[0],
    ):
        assert seen == {"a": WITHHELD, "b": "plain"}


def test_where_others_wait_only_little_is_read(redactor: Redactor) -> None:
    little, much = "mail ann@acme.example", "mail ann@acme.example " * 1000
    assert "ann@" not in str(redactor.record(little, "acme", inline=True))
    assert "ann@" not in str(redactor.result(little, ("email",), "acme", inline=True))
    for search in (redactor.record, lambda *a, **k: redactor.result(a[0], ("email",), a[1], **k)):
        with pytest.raises(PostponedError):
            search(much, "acme", inline=True)
    assert "ann@" not in str(redactor.record(much, "acme"))


def test_a_document_in_a_text_that_would_take_long_to_parse_is_withheld(redactor: Redactor) -> None:
    text = '{"email": "ann@acme.example", "n": [' + "{}," * 250_000 + "{}]}"
    assert redactor.result({"a": text}, ("email",), "acme") == ({"a": WITHHELD}, 1)


# --- pieces find what the whole does ---------------------------------------------------------------

SECRETS = [
    "ghp_" + "a1B2" * 9, "sk-ant-api03-abcdefghijklmnop1234", "AKIAABCDEFGHIJKLMNOP", "Bearer abcdef123456",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl", "postgres://bob:hunter2@db.example/shop",
    "password=hunter2", "token: 'x y z'", "the secret is s3cr3t",
    "-----BEGIN PRIVATE KEY-----\nMIIEow\n-----END PRIVATE KEY-----",
]  # fmt: skip
PERSONAL = [
    "ann@acme.example", "4111 1111 1111 1111", "5500-0000-0000-0004", "+49 30 1234567", "415-555-0134", "123-45-6789",
    "DE89 3704 0044 0532 0130 00", "192.168.10.20", "2001:db8::8a2e:370:7334",
]  # fmt: skip
BETWEEN = st.sampled_from([" ", " and ", ", ", "\n", " lorem ipsum dolor ", "; ", ' "', "\u00e9t\u00e9 "])


def texts(kinds: list[str]) -> st.SearchStrategy[str]:
    one = st.tuples(BETWEEN, st.sampled_from(kinds), BETWEEN).map("".join)
    return st.lists(st.one_of(one, BETWEEN), min_size=1, max_size=30).map("".join)


@examples(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=texts(SECRETS), piece=st.integers(3, 90))
def test_credentials_are_found_in_pieces_as_in_the_whole(
    monkeypatch: pytest.MonkeyPatch, text: str, piece: int
) -> None:
    for profile in ("record", "message", "result"):
        with monkeypatch.context() as patch:
            patch.setattr(scanning, "PIECE", 1 << 30)
            whole = secret_patterns.without_credentials(text, profile)  # type: ignore[arg-type]
            patch.setattr(scanning, "PIECE", piece)
            assert secret_patterns.without_credentials(text, profile) == whole  # type: ignore[arg-type]


@examples(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=texts(PERSONAL), window=st.integers(40, 300), lenient=st.booleans())
def test_nothing_that_is_found_in_the_whole_is_missed_in_windows(
    redactor: Redactor, monkeypatch: pytest.MonkeyPatch, text: str, window: int, lenient: bool
) -> None:
    find = redactor._recognisers.find
    with monkeypatch.context() as patch:
        patch.setattr(recognizers, "WINDOW", 1 << 30)
        whole = find(text, lenient=lenient)
        patch.setattr(recognizers, "WINDOW", window)
        found = find(text, lenient=lenient)
    hidden = {at for span in found for at in range(span.start, span.end)}
    for span in whole:
        assert hidden.issuperset(range(span.start, span.end)), (span, text[span.start : span.end])


@pytest.mark.parametrize(
    "part", ["token=x ", "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY----- ", "Bearer 12345678 "]
)
def test_no_more_places_are_sorted_or_put_together_at_once_than_a_piece_has(
    monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    sizes: list[int] = []

    def counting(found: list[tuple[int, int]], end: tuple[int]) -> int:
        sizes.append(len(found))
        return bisect_left(found, end)

    monkeypatch.setattr(secret_patterns, "bisect_left", counting)
    monkeypatch.setattr(secret_patterns, "_PARTS_AT_ONCE", 10)
    times = 8 * scanning.PIECE // len(part)
    seen, count = secret_patterns.without_credentials(part * times)
    assert count == times
    assert seen == secret_patterns.without_credentials(part)[0] * times
    assert max(sizes, default=0) <= scanning.PIECE // len(part) + 1


def test_a_match_longer_than_the_overlap_is_hidden_to_its_end() -> None:
    for begin, rest in (("password=", "x"), ("eyJhbGciOiJIUzI1NiJ9.eyJz.", "a"), ("Bearer 1", "b"), ("ghp_", "c")):
        text = f"{begin}{rest * 40_000} end"
        seen, count = secret_patterns.without_credentials(text)
        assert count == 1
        assert rest * 100 not in seen
        assert seen.endswith("<SECRET> end")


def test_a_budget_that_was_not_used_up_lets_everything_pass() -> None:
    budget = ScanBudget()
    for _ in range(100):
        budget.take(1 << 20)
        budget.step()


@pytest.mark.parametrize("value", ["x" * 100_000, {"a": ["plain words"] * 10_000}])
def test_what_is_not_small_is_not_looked_at_where_others_wait(redactor: Redactor, value: Any) -> None:
    for search in (redactor.record, lambda *a, **k: redactor.message(a[0], ("email",), a[1], **k)):
        with pytest.raises(PostponedError):
            search(value, "acme", inline=True)


def test_what_was_found_out_about_a_result_holds_for_that_result_alone(redactor: Redactor) -> None:
    plain, telling = {"a": "plain words"}, {"a": "the password is hunter2, write to ann@acme.example"}
    for value in (plain, telling):
        shown, _ = redactor.result(value, ("email",), "acme", encoded=orjson.dumps(value))
        assert "hunter2" not in str(redactor.record(telling, "acme"))
        kept = redactor.record(shown, "acme")
        assert "hunter2" not in str(kept)
        assert "ann@" not in str(kept)
    assert redactor.record(plain, "acme") == plain


async def test_work_in_pieces_on_an_event_loop_gives_others_a_turn_after_each_that_takes_long() -> None:
    turns: list[int] = []
    loop = asyncio.get_running_loop()

    def turn() -> None:
        turns.append(1)
        loop.call_soon(turn)

    def work(step_s: float) -> Generator[None, None, str]:
        for _ in range(5):
            began = time.thread_time()
            while time.thread_time() < began + step_s:
                pass
            yield
        return "done"

    loop.call_soon(turn)
    assert await scanning.in_pieces(work(0.0)) == "done"
    soon = len(turns)
    assert await scanning.in_pieces(work(2 * scanning._SLICE_S)) == "done"
    assert len(turns) - soon == 5
    assert soon <= 1
