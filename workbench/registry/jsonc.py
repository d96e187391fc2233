"""JSON with comments and trailing commas, as editors write it, and the line of every key in it."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple, NoReturn

Path = tuple[str | int, ...]

_TOKEN = re.compile(r'\s+|"(?:[^"\\\n]|\\.)*"|//[^\n]*|/\*.*?\*/|[{}\[\],:]|[^\s"/{}\[\],:]+|.', re.DOTALL)
MAX_DEPTH = 32


class Document(NamedTuple):
    """A parsed file."""

    value: Any
    lines: dict[Path, int]
    """Path of a key or item → the line it begins on, from 1."""

    def line(self, path: Path) -> int:
        """The line of `path`, or of the nearest thing around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


class Malformed(ValueError):
    """The text is not JSON; `line` says where it was noticed."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def parse(text: str) -> Document:
    """Parse `text`.

    Raises:
        Malformed: it is not JSON even with comments and trailing commas permitted, has a key twice, is nested deeper
            than MAX_DEPTH, or holds NaN or Infinity.
    """
    plain, lines = _scan(text)
    try:
        value = json.loads(plain, parse_constant=_no_constant)
    except json.JSONDecodeError as e:
        raise Malformed(e.lineno, e.msg) from e
    except (ValueError, RecursionError) as e:
        raise Malformed(1, str(e)) from e
    return Document(value, lines)


def _scan(text: str) -> tuple[str, dict[Path, int]]:
    """`text` with comments and trailing commas blanked out, and the lines of its keys and items."""
    out: list[str] = []
    lines: dict[Path, int] = {(): 1}
    path: list[str | int] = []
    opened: list[str] = []
    line, before, comma = 1, "", -1
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token.isspace() or token.startswith(("//", "/*")):
            out.append(re.sub(r"[^\n]", " ", token))
            line += token.count("\n")
            continue
        if token in "}]" and before == "," and comma >= 0:
            out[comma] = " "
        # A comma is trailing only behind a value, so that `[,]` stays as wrong as it is.
        comma = len(out) if token == "," and before not in ("", "{", "[", ",", ":") else -1
        out.append(token)
        if before in ("[", ",") and opened and opened[-1] == "[" and token != "]":
            path[-1] = 0 if before == "[" else int(path[-1]) + 1
            lines[tuple(path)] = line
        elif before in ("{", ",") and opened and opened[-1] == "{" and token.startswith('"'):
            path[-1] = _key(token, line)
            if tuple(path) in lines:
                raise Malformed(line, f"the key {path[-1]!r} is there twice")
            lines[tuple(path)] = line
        if token in "{[":
            opened.append(token)
            path.append("" if token == "{" else 0)
            if len(opened) > MAX_DEPTH:
                raise Malformed(line, f"nested deeper than {MAX_DEPTH} levels")
        elif token in "}]" and opened:
            opened.pop()
            path.pop()
        before = token
    return "".join(out), lines


def _key(token: str, line: int) -> str:
    try:
        return str(json.loads(token))
    except ValueError as e:
        raise Malformed(line, f"the key {token[:40]} is not a valid string") from e


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
