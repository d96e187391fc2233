"""JSON as people and editors write it, and the line of every key in it.

Read beyond RFC 8259: comments (`//`, `#`, `/* */`), trailing commas, and of JSON5 single quotes, names without quotes,
`NaN` and hexadecimal numbers. Slips whose meaning is certain are read, too, and reported in `JsoncDocument.notices`: a
key that stands twice, a backslash that escapes nothing, nesting without end.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple, NoReturn

from workbench.json_values import MAX_DEPTH, joined_surrogates, replaced_surrogates

Path = tuple[str | int, ...]

_SKIPPED = re.compile(r"(?:[\s\ufeff]+|//[^\n]*|#[^\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING = {'"': re.compile(r'"((?:[^"\\\n]|\\.)*)"', re.DOTALL), "'": re.compile(r"'((?:[^'\\\n]|\\.)*)'", re.DOTALL)}
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(\r?\n)|(.))", re.DOTALL)
_WORD = re.compile(r"[^\s\"'{}\[\],:/#]+")
_NUMBER = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")
_SIMPLE = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", '"': '"', "'": "'", "\\": "\\", "/": "/"}
_WORDS: Final[dict[str, Any]] = {
    "true": True, "false": False, "null": None, "True": True, "False": False, "None": None, "undefined": None,
    "NaN": float("nan"), "Infinity": float("inf"), "+Infinity": float("inf"), "-Infinity": float("-inf"),
}  # fmt: skip


class JsoncDocument(NamedTuple):
    """A parsed file."""

    value: Any
    lines: dict[Path, int]
    """Path of a key or item → the line it begins on, from 1."""
    notices: tuple[tuple[Path, str], ...] = ()
    """What was not as it should be and read all the same: where, and what."""

    def line(self, path: Path) -> int:
        """The line of `path`, or of the nearest thing around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


class MalformedJsonError(ValueError):
    """The text is not JSON; `line` and `column`, from 1, say where that was noticed."""

    def __init__(self, line: int, message: str, column: int = 1) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


def parse(text: str) -> JsoncDocument:
    """Parse `text`.

    Raises:
        Malformed: it cannot be read even so.
    """
    return _Parser(text).document()


class _Parser:
    """One pass over a text. Recursion is bounded by MAX_DEPTH; beyond it values are read and thrown away."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Path, int] = {(): 1}
        self.notices: list[tuple[Path, str]] = []
        self._counted = (0, 1)

    def document(self) -> JsoncDocument:
        self._skip()
        value = self._value(())
        self._skip()
        if self.at < len(self.text):
            self._fail("Expected the end of the file")
        return JsoncDocument(value, self.lines, tuple(self.notices))

    def _value(self, path: Path) -> Any:
        opening = self.text[self.at : self.at + 1]
        if opening in ("{", "["):
            if len(path) >= MAX_DEPTH:
                self.notices.append((path[:6], f"what is nested deeper than {MAX_DEPTH} levels was left out"))
                return self._pass_over()
            return self._object(path) if opening == "{" else self._array(path)
        if opening in _STRING:
            return self._string(path)
        word = self._word()
        if word in _WORDS:
            return _WORDS[word]
        if not _NUMBER.fullmatch(word):
            self.at -= len(word)
            self._fail("Expecting value")
        return self._number(word)

    def _object(self, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self.at += 1
        while not self._closed("}"):
            line = self._line()
            start = self.at
            key = self._string(path) if self.text[start : start + 1] in _STRING else self._word()
            if not key and self.text[start : start + 1] not in _STRING:
                self._fail("Expecting property name")
            inner = (*path, key)
            if key in found:
                self.notices.append((inner, f"the key {key[:80]!r} is there twice; the last one counts"))
            self.lines[inner] = line
            self._expect(":")
            found[key] = self._value(inner)
            self._separate("}")
        return found

    def _array(self, path: Path) -> list[Any]:
        found: list[Any] = []
        self.at += 1
        while not self._closed("]"):
            inner = (*path, len(found))
            self.lines[inner] = self._line()
            found.append(self._value(inner))
            self._separate("]")
        return found

    def _closed(self, closing: str) -> bool:
        self._skip()
        if self.text[self.at : self.at + 1] != closing:
            return False
        self.at += 1
        return True

    def _separate(self, closing: str) -> None:
        self._skip()
        if self.text[self.at : self.at + 1] == ",":
            self.at += 1
        elif self.text[self.at : self.at + 1] != closing:
            self._fail(f"Expecting ',' delimiter or {closing!r}")

    def _expect(self, token: str) -> None:
        self._skip()
        if self.text[self.at : self.at + 1] != token:
            self._fail(f"Expecting {token!r} delimiter")
        self.at += 1
        self._skip()

    def _string(self, path: Path) -> str:
        match = _STRING[self.text[self.at]].match(self.text, self.at)
        if match is None:
            self._fail("Unterminated string")
        self.at = match.end()
        raw = match.group(1)
        if "\\" not in raw:
            return raw
        found = _ESCAPE.sub(lambda escape: self._escaped(escape, path), raw)
        # two escapes that stand for one character beyond the basic plane
        return replaced_surrogates(joined_surrogates(found)) if _pairs(found) else found

    def _escaped(self, match: re.Match[str], path: Path) -> str:
        if code := match.group(1) or match.group(2):
            return chr(int(code, 16))
        if match.group(3):
            return ""
        letter = match.group(4)
        if letter not in _SIMPLE:
            self.notices.append((path, f"the backslash before {letter!r} escapes nothing and was kept; write \\\\"))
            return f"\\{letter}"
        return _SIMPLE[letter]

    def _word(self) -> str:
        match = _WORD.match(self.text, self.at)
        if match is None:
            return ""
        self.at = match.end()
        return match.group()

    def _number(self, word: str) -> int | float:
        if "x" in word.lower():
            return int(word, 16)
        if not re.search(r"[.eE]", word) and len(word) < 400:
            return int(word)
        return float(word)

    def _pass_over(self) -> None:
        """Leave out a value that is nested too deeply, however deep it goes on."""
        depth = 0
        while True:
            self._skip()
            char = self.text[self.at : self.at + 1]
            if char in _STRING:
                self._string(())
                continue
            if not char:
                self._fail("Expecting value")
            depth += (char in "{[") - (char in "}]")
            self.at += 1
            if not depth:
                return

    def _skip(self) -> None:
        match = _SKIPPED.match(self.text, self.at)
        assert match is not None
        self.at = match.end()

    def _line(self) -> int:
        at, line = self._counted
        line += self.text.count("\n", at, self.at)
        self._counted = (self.at, line)
        return line

    def _fail(self, message: str) -> NoReturn:
        before = self.text[: self.at]
        raise MalformedJsonError(before.count("\n") + 1, message, len(before) - before.rfind("\n"))


def _pairs(text: str) -> bool:
    return re.search(r"[\ud800-\udbff][\udc00-\udfff]", text) is not None
