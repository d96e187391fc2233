"""Regular expressions of schemas, brought from JavaScript's syntax into that of the validator's engine.

JSON Schema takes its patterns from ECMA-262, and servers write what their own engine takes: JavaScript without the
`u` flag (Annex B: "web legacy" syntax), or Python. The translation changes spelling alone. A pattern whose meaning
differs between those languages, or that the engine has no form for, is not translated.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from workbench.registry.schemas.validator import compile_schema

MAX_PATTERN: Final = 16_384
"""Characters of a pattern; longer ones are not checked."""

_LITERAL: Final = re.compile(r"/(\^.*\$)/[dgimsuvy]*", re.DOTALL)
"""A JavaScript literal with its delimiters. Read as a pattern it could match nothing: `^` behind a slash."""

_QUANTIFIER: Final = re.compile(r"\{\d+(?:,\d*)?\}")
_OPEN_RANGE: Final = re.compile(r"\{,(\d+)\}")
_GROUP: Final = re.compile(r"\(\?P?<(?![=!])([^>]*)>")
_HEX: Final = re.compile(r"u\{([0-9A-Fa-f]{1,6})\}|u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})")
_OCTAL: Final = re.compile(r"[0-3][0-7]{0,2}|[4-7][0-7]?")
_BACK: Final = re.compile(r"[1-9]\d*")
_NAMED_BACK: Final = re.compile(r"k<([^>]*)>")
_PROPERTY: Final = re.compile(r"[pP](?:\{[^}]*\}|[A-Z])")
_CLASSES: Final = "dDwWsS"
_CONTROLS: Final = "fnrtv"
_MISREAD: Final = re.compile(r"(?<!\\)(?:\\\\)*\\[<>]")
"""An escape that JavaScript reads as the character, and the engine as the border of a word."""


class _NoFormError(Exception):
    """The pattern has no certain form in the engine's syntax."""


@lru_cache(maxsize=4096)
def portable_pattern(pattern: str) -> str | None:
    """`pattern` as the engine takes it: unchanged where it can be, None where it cannot be checked.

    Args:
        pattern: as the server wrote it.
    """
    if len(pattern) > MAX_PATTERN:
        return None
    literal = _LITERAL.fullmatch(pattern)
    if literal:
        flags = pattern[literal.end(1) + 1 :]
        kept = "".join(sorted(set(flags) & set("ims")))
        pattern = f"(?{kept}){literal[1]}" if kept else literal[1]
    elif not _MISREAD.search(pattern) and _compiles(pattern):
        return pattern
    try:
        translated = _Translation(pattern).text
    except _NoFormError:
        return None
    return translated if _compiles(translated) else None


def _compiles(pattern: str) -> bool:
    try:
        compile_schema({"pattern": pattern})
    except ValueError:
        return False
    return True


class _Translation:
    """One pass over a pattern; `text` is the pattern in the engine's syntax."""

    def __init__(self, pattern: str) -> None:
        self._source = pattern
        self._at = 0
        self._groups = _group_names(pattern)
        parts = []
        while self._at < len(pattern):
            parts.append(self._next())
        self.text = "".join(parts)

    def _next(self) -> str:
        source, at = self._source, self._at
        char = source[at]
        if char == "\\":
            return self._escape(in_class=False)
        if char == "[":
            return self._character_class()
        if char == "(":
            return self._open_group()
        if char == "{":
            if found := _QUANTIFIER.match(source, at):
                self._at = found.end()
                return found[0]
            if found := _OPEN_RANGE.match(source, at):  # as Python has it; in JavaScript it could only be a slip
                self._at = found.end()
                return f"{{0,{found[1]}}}"
        self._at += 1
        return {"{": r"\{", "}": r"\}", "]": r"\]"}.get(char, char)

    def _open_group(self) -> str:
        source, at = self._source, self._at
        if found := _GROUP.match(source, at):
            self._at = found.end()
            return "("  # back-references go by number
        if source.startswith("(?#", at):
            end = source.find(")", at)
            if end < 0:
                raise _NoFormError
            self._at = end + 1
            return ""
        if source.startswith("(?P=", at):
            end = source.find(")", at)
            number = self._groups.get(source[at + 4 : end], 0)
            self._at = end + 1
            if end < 0 or not number:
                raise _NoFormError
            return rf"(?:\{number})"
        self._at += 1
        return "("

    def _escape(self, *, in_class: bool) -> str:
        """One escape; `_at` stands on its backslash."""
        source, start = self._source, self._at + 1
        if start >= len(source):
            raise _NoFormError
        char = source[start]
        self._at = start + 1
        if char in _CLASSES or char in _CONTROLS:
            return "\\" + char
        if char in "bB" and (not in_class or char == "b"):
            return r"\x08" if in_class else "\\" + char
        if found := _HEX.match(source, start):
            self._at = found.end()
            return self._code_point(int(found[1] or found[2] or found[3], 16))
        if found := _PROPERTY.match(source, start):
            self._at = found.end()
            return "\\" + found[0]
        if char == "c" and source[start + 1 : start + 2].isascii() and source[start + 1 : start + 2].isalpha():
            self._at = start + 2
            return _code(ord(source[start + 1]) % 32)
        if char.isdigit():
            return self._number(start, in_class=in_class)
        if not in_class and (found := _NAMED_BACK.match(source, start)):
            number = self._groups.get(found[1], 0)
            if not number:
                raise _NoFormError
            self._at = found.end()
            return rf"(?:\{number})"
        if not in_class and char in "AzZ":  # nobody means the letter, and of the two ends the later one is also right
            return r"(?=\n?\z)" if char == "Z" else "\\" + char
        if char.isascii() and char.isalpha():
            raise _NoFormError  # a letter in JavaScript, something else wherever it has a meaning
        return _literally(char)

    def _number(self, start: int, *, in_class: bool) -> str:
        """A back-reference where there is such a group, else the octal code that JavaScript reads."""
        source = self._source
        found = _BACK.match(source, start)
        if found and not in_class and int(found[0]) <= max(self._groups.values(), default=0):
            self._at = found.end()
            return rf"(?:\{found[0]})"
        octal = _OCTAL.match(source, start)
        if octal:
            self._at = octal.end()
            return _code(int(octal[0], 8))
        return source[start]

    def _code_point(self, code: int) -> str:
        """A code point; halves of a surrogate pair are joined."""
        if 0xDC00 <= code <= 0xDFFF or code > 0x10FFFF:
            raise _NoFormError
        if 0xD800 <= code <= 0xDBFF:
            low = _HEX.match(self._source, self._at + 1) if self._source[self._at : self._at + 1] == "\\" else None
            half = int(low[2], 16) if low and low[2] else 0
            if low is None or not 0xDC00 <= half <= 0xDFFF:
                raise _NoFormError
            self._at = low.end()
            code = 0x10000 + ((code - 0xD800) << 10) + (half - 0xDC00)
        return _code(code)

    def _character_class(self) -> str:
        """A class, with every character in it that the engine would take for syntax escaped."""
        source = self._source
        self._at += 1
        inverted = source.startswith("^", self._at)
        self._at += inverted
        if source.startswith("]", self._at):
            self._at += 1
            if source.find("]", self._at) >= 0 and source.find("[", self._at) < 0:
                raise _NoFormError  # `[]a]` and `[^]a]` are one class in Python, and two things in JavaScript
            return r"[\s\S]" if inverted else r"[^\s\S]"
        members: list[str] = []
        while not source.startswith("]", self._at):
            if self._at >= len(source):
                raise _NoFormError
            members.append(self._member())
        self._at += 1
        return f"[{'^' if inverted else ''}{_ranged(members)}]"

    def _member(self) -> str:
        char = self._source[self._at]
        if char == "\\":
            return self._escape(in_class=True)
        self._at += 1
        return "-" if char == "-" else _literally(char)


def _ranged(members: list[str]) -> str:
    """Members of a class in a row; a hyphen that bounds no range of two characters is a character."""
    done: list[str] = []
    at = 0
    while at < len(members):
        here = members[at]
        if at + 2 < len(members) and members[at + 1] == "-" and not _is_set(here) and not _is_set(members[at + 2]):
            done += [r"\-" if here == "-" else here, "-", r"\-" if members[at + 2] == "-" else members[at + 2]]
            at += 3
        else:
            done.append(r"\-" if here == "-" else here)
            at += 1
    return "".join(done)


def _is_set(member: str) -> bool:
    """Whether a member of a class stands for several characters."""
    return len(member) > 1 and member[0] == "\\" and member[1] in _CLASSES + "pP"


def _group_names(pattern: str) -> dict[str, int]:
    """Name of each capturing group → its number; those without a name under their number."""
    groups: dict[str, int] = {}
    at, inside = 0, False
    while at < len(pattern):
        char = pattern[at]
        if char == "\\":
            at += 1
        elif inside:
            inside = char != "]"
        elif char == "[":
            inside = not pattern.startswith("]", at + 1) and not pattern.startswith("^]", at + 1)
        elif char == "(" and (named := _GROUP.match(pattern, at)):
            groups.setdefault(named[1], len(groups) + 1)
        elif char == "(" and not pattern.startswith("?", at + 1):
            groups[f"#{len(groups) + 1}"] = len(groups) + 1
        at += 1
    return groups


def _literally(char: str) -> str:
    """A character as itself."""
    if char.isalnum() or char in "_/ " or ord(char) > 127:
        return char
    return _code(ord(char)) if char in "<>" or not char.isprintable() else "\\" + char


def _code(code: int) -> str:
    return rf"\x{code:02x}" if code < 0x80 else rf"\u{{{code:x}}}"
