"""Credentials in free text: the shapes that issuers gave their keys, and values that a text itself calls a password."""

from __future__ import annotations

import heapq
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from workbench import scanning
from workbench.scanning import ScanBudget

SECRET = "<SECRET>"
"""Stands where a credential stood. Not a typed token: nobody should join on secrets."""

_HINTS = (
    *(
        "mk_",
        "sk-",
        "sk_",
        "pk_",
        "rk_",
        "aiza",
        "ghp_",
        "gho_",
        "ghu_",
        "ghs_",
        "ghr_",
        "github_pat_",
        "glpat-",
        "xox",
    ),
    *("akia", "asia", "eyj", "npm_", "hf_", "whsec_", "sg.", "-----begin", "://", "bearer", "basic", "passw", "secret"),
    *("token", "api_key", "api-key", "api key", "apikey", "pwd", "authorization"),
)
_LONGEST_HINT = max(map(len, _HINTS))
_MARKS = "zxjw_-kbg"


def _grouped() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Hints by the first of the letters that they contain; the rest by an empty mark, which is in every text."""
    marks = (*_MARKS, "")
    by_mark = {hint: next(mark for mark in marks if mark in hint) for hint in _HINTS}
    return tuple((mark, tuple(hint for hint in _HINTS if by_mark[hint] == mark)) for mark in marks)


_GROUPS = _grouped()
"""One letter is found ten times as fast as a word, and where it is absent no hint with it has to be looked for."""
PIECE = 128 << 10
"""Characters that are looked through for hints at once."""

_MAX_NAME_LENGTH = 4096
_PARTS_AT_ONCE = 8192
"""Parts of a text that are put together at once."""


class _Shape(NamedTuple):
    """One way in which credentials stand in texts; none of its patterns takes longer than its text is long."""

    hints: tuple[str, ...]
    """In lower case. A piece without any of them is not searched."""
    pattern: re.Pattern[str]
    issued: bool
    """Whether the shape alone says that it is one; the others are what a text calls a credential."""


_ISSUERS = (
    "mk_", "sk-", "sk_", "pk_", "rk_", "aiza", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox",
    "npm_", "hf_", "whsec_", "sg.",
)  # fmt: skip
_NAMES = ("passw", "secret", "token", "api_key", "api-key", "api key", "apikey", "pwd")

_DOTTED = re.compile(r"(?<![\w.-])[\w.-]{16,}+")
"""Where a JSON Web Token may stand. It is looked for part by part: one pattern for all of it would search a long run
of its letters again from each of them."""
_TOKEN_HEADER = re.compile(r"\beyJ[\w-]{8,}")

_SHAPES = (
    _Shape(
        _ISSUERS,
        re.compile(
            r"(?=[mspragxnhwSA])\b(?:mk_[a-z0-9]{6,}+_[\w-]{16,}|sk-[\w-]{16,}|(?:sk|pk|rk)_(?:live|test)_\w{10,}"
            r"|AIza[\w-]{30,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[a-z]-[\w-]{10,}|npm_\w{30,}"
            r"|hf_\w{20,}|whsec_\w{16,}|SG\.[\w-]{16,}+\.[\w-]{16,})"
        ),
        True,
    ),
    # what signs a link that a tool hands out is part of it, and names no secret
    _Shape(("akia", "asia"), re.compile(r"A[KS]IA(?<=\bA[KS]IA)(?<!Credential=A[KS]IA)[A-Z0-9]{16}"), True),
    _Shape(("akia", "asia"), re.compile(r"A[KS]IA(?<=\bA[KS]IA)[A-Z0-9]{16}"), False),
    _Shape(("eyj",), _DOTTED, True),
    _Shape(("://",), re.compile(r"://[^/\s:@]*+:[^/\s@]++(?=@)"), True),  # user:password@ in a URL
    _Shape(("bearer", "basic"), re.compile(r"[Bb](?:earer|asic) (?=[\w.~+/-]*\d)[\w.~+/=-]{8,}"), True),
    _Shape(("bearer", "basic"), re.compile(r"B(?:EARER|ASIC) (?=[\w.~+/-]*\d)[\w.~+/=-]{8,}"), True),
    _Shape(
        _NAMES,
        re.compile(
            r"(?=[pstaPSTA])\b(?i:(?:password|passwd|pwd|secret|token|api[-_ ]?key)[\"']?\s*(?:[:=]|\bis\b)\s*)"
            r"""(?P<value>"[^"]*(?:"|\Z)|'[^']*(?:'|\Z)|[^\s,;&"'<][^\s,;&"']*)"""
        ),
        False,
    ),
)
_ASSIGNED = re.compile(
    r"(?=[pstaPSTA])(?i:(?:password|passwd|pwd|secret|token|api[-_]?key)=)(?P<value>[^\s,;&\"'<>]{6,})"
)
"""What stands behind `password=` and the like, without any prose: for texts that people have to understand."""

_WORD = re.compile(r"[^\s,;&\"'<>]*")
_WITHIN = {'"': re.compile('[^"]*'), "'": re.compile("[^']*")}

_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----")
_PRIVATE_KEY_END = re.compile(r"-----END [A-Z ]{0,40}PRIVATE KEY-----")

Profile = Literal["record", "message", "result"]
"""What counts as a credential: in the record all that looks like one and what prose calls one; in messages about a
result also assignments like `password=…`; in results and definitions only what its issuer has given a shape."""


def hinted(text: str | bytes) -> bool:
    """Whether a text, or the JSON bytes of a whole document, may hold a credential. Cheap, and says yes too often."""
    # `in` looks through text several times faster than through bytes; all hints are ASCII, which Latin-1 keeps
    low = text.lower() if isinstance(text, str) else text.lower().decode("latin-1")
    if len(low) > PIECE:
        # in one piece every single hint would keep the interpreter from all other threads for milliseconds
        return any(_hinted(low[at : at + PIECE + _LONGEST_HINT]) for at in range(0, len(low), PIECE))
    return _hinted(low)


def _hinted(low: str) -> bool:
    for mark, hints in _GROUPS:
        if mark in low:
            for hint in hints:  # a generator would double the cost, and this runs on every record
                if hint in low:
                    return True
    return False


def without_credentials(text: str, profile: Profile = "record", budget: ScanBudget | None = None) -> tuple[str, int]:
    """The text with every credential replaced, and how many there were.

    Raises:
        OverBudgetError: the text could not be searched to its end.
    """
    done: list[str] = []
    parts: list[str] = []
    at = count = 0
    for start, end in _merged(_spans(text, profile, budget)):
        parts += text[at:start], SECRET
        at = end
        count += 1
        if len(parts) > _PARTS_AT_ONCE:
            done.append("".join(parts))
            parts.clear()
    if not count:
        return text, 0
    return "".join([*done, *parts, text[at:]]), count


def find(text: str, profile: Profile = "record", budget: ScanBudget | None = None) -> list[tuple[int, int]]:
    """Where credentials stand in a text, in order and without overlap.

    Raises:
        OverBudgetError: the text could not be searched to its end.
    """
    return list(_merged(_spans(text, profile, budget)))


def present(name: str) -> bool:
    """Whether the name of a key holds something of the shape that an issuer gave its keys."""
    return len(name) > 15 and hinted(name) and without_credentials(name[:_MAX_NAME_LENGTH], "result")[1] > 0


def _spans(text: str, profile: Profile, budget: ScanBudget | None) -> Iterator[tuple[int, int]]:
    """Where credentials stand, by where they begin; those of several shapes may overlap.

    A long text can hold half a million. No more of them are sorted at once than begin in one piece, because sorting
    keeps the interpreter from all other threads.
    """
    return heapq.merge(_private_keys(text, budget or ScanBudget()), _others(text, profile, budget))


def _others(text: str, profile: Profile, budget: ScanBudget | None) -> Iterator[tuple[int, int]]:
    """Where all but private keys stand, by where they begin."""
    after: dict[re.Pattern[str], int] = {}
    found: list[tuple[int, int]] = []
    for start in range(0, len(text), scanning.PIECE):
        end = min(start + scanning.PIECE, len(text))
        low = text[start : end + _LONGEST_HINT].lower()
        for pattern in _wanted(low, profile):
            for match, cut in scanning.matches(pattern, text, max(start, after.get(pattern, 0)), end):
                after[pattern] = scanning.end_of_run(_rest(match), text, match.end()) if cut else match.end()
                for begin, stop in _found(match, text, after[pattern]):
                    if pattern is not _DOTTED or profile == "record" or not _in_link(text, begin):
                        found.append((begin, stop))
        if found:
            found.sort()
            beyond = bisect_left(found, (end,))  # what a piece is searched for may begin after its end
            yield from found[:beyond]
            del found[:beyond]
        if budget is not None:
            budget.step()
    yield from found


def _wanted(low: str, profile: Profile) -> Iterator[re.Pattern[str]]:
    for hints, pattern, issued in _SHAPES:
        if (issued or profile == "record") and any(hint in low for hint in hints):
            yield pattern
    if profile == "message" and "=" in low and any(hint in low for hint in _NAMES):
        yield _ASSIGNED


def _rest(match: re.Match[str]) -> re.Pattern[str]:
    """What goes on where a match was cut off: the rest of a quoted text, or of a word."""
    value = match.group("value") if "value" in match.re.groupindex else ""
    return _WITHIN.get(value[:1], _WORD)


def _found(match: re.Match[str], text: str, end: int) -> list[tuple[int, int]]:
    """The credentials in what a pattern has found, which goes on to `end`."""
    start = match.start()
    if match.re is _DOTTED:
        return _web_tokens(text[start:end], start)
    if "value" in match.re.groupindex:
        return [(match.start("value"), end)]
    whole = match.group()
    if whole.startswith("://"):
        return [(start + 3, end)]
    return [(start + whole.index(" ") + 1, end)] if " " in whole else [(start, end)]


def _in_link(text: str, at: int) -> bool:
    """Whether a place lies in the query of a URL. Links to sign in and to download carry signed tokens, and are of no
    use without."""
    before = text[max(0, at - _MAX_NAME_LENGTH) : at].split()
    return bool(before) and not text[at - 1].isspace() and "://" in before[-1] and "=" in before[-1]


def _web_tokens(run: str, at: int) -> list[tuple[int, int]]:
    """JSON Web Tokens (RFC 7519) in a run of their letters that begins at `at`."""
    parts = run.split(".")
    found = []
    for number, part in enumerate(parts[:-1]):
        header = _TOKEN_HEADER.search(part)
        if header is not None and len(parts[number + 1]) >= 4:
            found.append(
                (
                    at + header.start(),
                    at + sum(map(len, parts[number : number + 3])) + len(parts[number : number + 3]) - 1,
                )
            )
        at += len(part) + 1
    return found


def _private_keys(text: str, budget: ScanBudget) -> Iterator[tuple[int, int]]:
    at = text.find("-----BEGIN ")
    while at >= 0:
        budget.step()
        begun = _PRIVATE_KEY.match(text, at)
        if begun is None:
            at = text.find("-----BEGIN ", at + 1)
            continue
        end = text.find("-----END ", begun.end())
        while end >= 0 and (ended := _PRIVATE_KEY_END.match(text, end)) is None:
            budget.step()
            end = text.find("-----END ", end + 1)
        if end < 0:
            yield at, len(text)
            return
        assert ended is not None
        yield at, ended.end()
        at = text.find("-----BEGIN ", ended.end())


def merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sorted spans with those that overlap as one."""
    return list(_merged(spans))


def _merged(spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    at, until = 0, -1
    for start, end in spans:
        if start < until:
            until = max(end, until)
            continue
        if until >= 0:
            yield at, until
        at, until = start, end
    if until >= 0:
        yield at, until
