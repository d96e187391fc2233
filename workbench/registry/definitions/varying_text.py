"""Texts that change at every start of a server: what of them varies, as typed holes in what stays.

A text is cut into tokens, by rules that look at nothing but the text. Two texts of the same tokens in the same order
make a template: what is equal in both stays, and what differs becomes a hole of the narrowest kind that takes both. A
later text is cut likewise and compared token by token, in linear time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from workbench.events import Record

MAX_TEXT: Final = 65_536
"""Characters of a text that may have a template."""
MAX_HOLES: Final = 32
"""Holes of one text."""
MAX_SEGMENTS: Final = 6
"""Folders and file below the folder that a path has in common."""
MAX_PATH: Final = 160
"""Characters of a path below that folder."""
MAX_WORDS: Final = 5
"""Words of two letters or more in one hole; a sentence has more."""

_WEEKDAY: Final = r"(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs)?|Fri|Sat(?:ur)?|Sun)(?:day)?"
_MONTH: Final = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sep(?:t(?:ember)?)?|Oct(?:ober)?"
    r"|Nov(?:ember)?|Dec(?:ember)?)"
)
_ZONE: Final = (
    r"(?: ?(?:Z|UTC|GMT|[A-Z]{3,4}))?(?: ?[+-]\d{2}:?\d{2})?"
    r"(?: \((?:[A-Z][a-z]{1,14} ){1,3}(?:Standard |Daylight |Summer |Universal )?Time\))?"
)
_TIME: Final = rf"\d{{1,2}}:\d{{2}}(?::\d{{2}}(?:[.,]\d{{1,9}})?)?(?: ?[AaPp]\.?[Mm]\.?)?{_ZONE}"
_DATE_TIME: Final = (
    rf"\d{{4}}[-/]\d{{2}}[-/]\d{{2}}(?:(?:T|,? | at ){_TIME})?"
    rf"|\d{{1,2}}[/.]\d{{1,2}}[/.]\d{{2,4}}(?:,? {_TIME})?"
    rf"|(?:{_WEEKDAY},? )?(?:\d{{1,2}}\.? {_MONTH}|{_MONTH}\.? \d{{1,2}}(?:st|nd|rd|th)?)(?:,? \d{{4}})?"
    rf"(?:,? (?:at )?{_TIME})?(?: \d{{4}})?"
    rf"|{_MONTH} \d{{4}}|{_WEEKDAY}|{_TIME}"
)
_SEGMENT: Final = r"[A-Za-z0-9._~+@%-]{1,64}"
_PATH: Final = rf"(?:~|\.{{1,2}}|[A-Za-z]:)?(?:[/\\]{_SEGMENT}){{1,32}}[/\\]?"
_UUID: Final = r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
_NUMBER: Final = r"[0-9]{1,3}(?:,[0-9]{3}){1,6}(?:\.[0-9]{1,9})?|[0-9]{1,20}(?:\.[0-9]{1,12})?"
_MARKED: Final = r"[A-Za-z0-9_]{0,64}[0-9][A-Za-z0-9_]{0,64}(?:[.-][A-Za-z0-9_]{0,32}[0-9][A-Za-z0-9_]{0,32}){0,4}"
"""A word with a digit in it: numbers with units, versions, hashes, random names."""

_TOKEN: Final = re.compile(
    rf"(?<![A-Za-z0-9_])(?:(?:{_DATE_TIME}|{_UUID})(?![A-Za-z0-9_])|{_PATH}"
    rf"|(?:[0-9]{{1,3}}(?:,[0-9]{{3}}){{1,6}})(?![A-Za-z0-9_])|{_MARKED})"
)

KINDS: Final[dict[str, re.Pattern[str]]] = {
    "port": re.compile(r"[1-9][0-9]{3,4}"),
    "number": re.compile(_NUMBER),
    "date-time": re.compile(_DATE_TIME),
    "uuid": re.compile(_UUID),
    "version": re.compile(r"v?[0-9]{1,8}(?:\.[0-9]{1,8}){1,4}(?:-?(?:a|b|rc|alpha|beta|dev)[0-9.]{0,8})?"),
    "hex": re.compile(r"(?=[a-f]*[0-9])[0-9a-f]{6,64}|(?=[A-F]*[0-9])[0-9A-F]{6,64}"),
    "id": re.compile(r"(?=.*[0-9])[A-Za-z0-9_.-]{1,64}"),
}
"""What may stand in a hole, the narrowest first; beside it there is `path`, below a folder."""

_BELOW: Final = re.compile(rf"(?:{_SEGMENT}[/\\]?){{0,{MAX_SEGMENTS}}}")


class VaryingPart(Record, frozen=True, kw_only=True):
    """One part of a text that varies."""

    at: int
    """Which token of the text."""
    kind: str
    """One of `KINDS`, or `path`."""
    below: str = ""
    """Of a path: the folder that it has to lie below, with its last separator."""


class TextTemplate(Record, frozen=True, kw_only=True):
    """A text with holes."""

    text: str
    """The text as it was accepted."""
    holes: tuple[VaryingPart, ...]

    @property
    def shown(self) -> str:
        """The template for a person, with each hole as its kind in ‹ ›."""
        parts = tokens(self.text)
        for hole in self.holes:
            parts[hole.at] = f"{hole.below}‹{hole.kind}›"
        return "".join(parts)

    def fits(self, text: str) -> bool:
        """Whether `text` is this one but for what stands in the holes."""
        return self.filled(text) is not None

    def filled(self, text: str) -> list[str] | None:
        """What stands in the holes of `text`; None when it is no such text."""
        mine, theirs = tokens(self.text), tokens(text)
        if len(mine) != len(theirs) or len(text) > MAX_TEXT:
            return None
        holes = {hole.at: hole for hole in self.holes}
        for at, (own, other) in enumerate(zip(mine, theirs, strict=True)):
            if not (_takes(holes[at], other) if at in holes else own == other):
                return None
        return [theirs[at] for at in holes]


def tokens(text: str) -> list[str]:
    """`text` cut into what could vary, at the odd places, and what stands between."""
    parts: list[str] = []
    end = 0
    for found in _TOKEN.finditer(text):
        parts += [text[end : found.start()], found[0]]
        end = found.end()
    return [*parts, text[end:]]


def text_template(texts: Sequence[str]) -> TextTemplate | str:
    """The template of two or more versions of one text, the accepted one first; or why there is none."""
    if any(len(text) > MAX_TEXT for text in texts):
        return f"it has more than {MAX_TEXT:,} characters"
    versions = [tokens(text) for text in texts]
    if len({len(version) for version in versions}) > 1:
        return _first_difference(texts)
    holes = []
    for at, variants in enumerate(zip(*versions, strict=True)):
        if len(set(variants)) == 1:
            continue
        hole = _hole(at, variants, versions[0][at - 1][-1:] == ":") if at % 2 else None
        if hole is None:
            return _first_difference(texts)
        holes.append(hole)
    if len(holes) > MAX_HOLES:
        return f"more than {MAX_HOLES} parts of it vary"
    return TextTemplate(text=texts[0], holes=tuple(holes))


def _hole(at: int, variants: Sequence[str], after_colon: bool) -> VaryingPart | None:
    """The narrowest hole that takes all `variants`."""
    for kind in KINDS:
        hole = VaryingPart(at=at, kind=kind)
        if (kind != "port" or after_colon) and all(_takes(hole, variant) for variant in variants):
            return hole
    below = _common_folder(variants)
    hole = VaryingPart(at=at, kind="path", below=below)
    return hole if below and all(_takes(hole, variant) for variant in variants) else None


def _takes(hole: VaryingPart, token: str) -> bool:
    """Whether `token` may stand in `hole`: of its kind, bounded, and no sentence in disguise."""
    if len(re.findall(r"[A-Za-z]{2,}", token)) > MAX_WORDS and hole.kind not in ("date-time", "path"):
        return False
    if hole.kind == "port":
        return KINDS["port"].fullmatch(token) is not None and int(token) < 65_536
    if hole.kind != "path":
        return KINDS[hole.kind].fullmatch(token) is not None
    rest = token.removeprefix(hole.below)
    if rest == token and token != hole.below.rstrip("/\\"):
        return False
    rest = "" if rest == token else rest
    upwards = ".." in re.split(r"[/\\]", rest)
    words = re.findall(r"[A-Za-z]{2,}", rest)
    return not upwards and len(rest) <= MAX_PATH and len(words) <= MAX_WORDS and _BELOW.fullmatch(rest) is not None


def _common_folder(paths: Sequence[str]) -> str:
    """The folder that all of `paths` lie below, with its last separator; empty when there is none but the root."""
    if not all(re.match(r"(?:~|\.{1,2}|[A-Za-z]:)?[/\\]", path) for path in paths):
        return ""
    split = [re.split(r"(?<=[/\\])", path) for path in paths]
    common: list[str] = []
    for parts in zip(*split, strict=False):
        if len(set(parts)) > 1 or not parts[0].endswith(("/", "\\")):
            break
        common.append(parts[0])
    return "".join(common) if len(common) > 1 else ""


def _first_difference(texts: Sequence[str]) -> str:
    """Why the texts have no template: the words that differ first."""
    first, other = next(((texts[0], text) for text in texts[1:] if text != texts[0]), (texts[0], texts[0]))
    at = next((n for n, (a, b) in enumerate(zip(first, other, strict=False)) if a != b), min(len(first), len(other)))
    return f"its words change: {first[max(0, at - 20) : at + 20]!r} became {other[max(0, at - 20) : at + 20]!r}"
