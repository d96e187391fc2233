"""What may enter the embedded Rego engine: a closed document of plain JSON values, and rules that call what exists.

The engine (rego-cpp, through regopy) has behaviours that turn a wrong value into an allowed call: it cuts text at NUL,
wraps integers beyond 64 bits, and compiles a call of an unknown function into "undefined", so that a deny rule never
fires. `checked()` closes the first two on every input, `lint()` the third when a policy is loaded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

from workbench.events import MisuseError

INT64 = (1 << 63) - 1
MAX_DEPTH = 32
"""Levels of what the engine is given: documents that we make, and `data.json` of a policy. Arguments of calls, which
may be deeper (`json_values.MAX_DEPTH`), are never among it."""
MAX_NODES = 10_000
"""Values of it; the engine takes some 13 µs for each."""


class UnsuitableValueError(ValueError):
    """A value that the engine would misread."""


def checked(value: Any) -> Any:
    """`value` itself, when the engine reads it exactly as Python does.

    Raises:
        Unsuitable: NUL or an unpaired surrogate in a text, an integer beyond 64 bits, an infinite or undefined number,
            a type that is not JSON, a key that is not text, more than 32 levels or 10,000 nodes.
    """
    left = _check(value, 0, MAX_NODES)
    if left < 0:
        raise UnsuitableValueError(f"more than {MAX_NODES} values")
    return value


def _check(value: Any, depth: int, left: int) -> int:
    left -= 1
    kind = type(value)  # exact types: a subclass may compare or print as something else
    if kind is str:
        if "\0" in value:
            raise UnsuitableValueError("a NUL in a text")
        if not value.isascii():
            _encodable(value)
        return left
    if kind is bool or value is None:
        return left
    if kind is int:
        if not -INT64 <= value <= INT64:
            raise UnsuitableValueError("an integer beyond 64 bits")
        return left
    if kind is float:
        if not math.isfinite(value):
            raise UnsuitableValueError("a number that is not finite")
        return left
    if kind is not dict and kind is not list and kind is not tuple:
        raise UnsuitableValueError(f"a value of type {kind.__name__}")
    if depth >= MAX_DEPTH:
        raise UnsuitableValueError(f"more than {MAX_DEPTH} levels")
    for item in value:
        if kind is dict:
            if type(item) is not str:
                raise UnsuitableValueError("a key that is not text")
            left = _check(item, depth + 1, left)
            item = value[item]
        left = _check(item, depth + 1, left)
        if left < 0:
            return left
    return left


def _encodable(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UnsuitableValueError("an unpaired surrogate in a text") from None


# --- reading rules before they are trusted -------------------------------------------------------


class RegoToken(NamedTuple):
    """One word of a Rego module, with the line it stands on."""

    kind: str
    text: str
    line: int
    spaced: bool
    """Whether white space or a comment stands before it."""


_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
      | (?P<template>\$["`])
      | (?P<string>"(?:\\.|[^"\\\n])*"|`[^`]*`)
      | (?P<number>\d[\w.]*)
      | (?P<name>[^\W\d]\w*)
      | (?P<sign>:=|==|!=|<=|>=|.)""",
    re.VERBOSE | re.DOTALL,
)

_KEYWORDS = frozenset(
    ("as", "default", "else", "every", "false", "if", "import", "in", "not", "null", "package", "some", "true", "with")
)

_NAME = re.compile(r"[^\W\d]\w*")

_NO_RULES = _KEYWORDS | {"contains"}
"""Words that no rule can be called."""

_GOES_ON = frozenset((".", "[", "(", "=", ":=", "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "&", "|"))
"""Signs with which an expression goes on, also on the next line."""

_FORBIDDEN = {
    "time.now_ns": "decisions are cached, so a rule that reads the clock would go stale",
    "rand.intn": "a decision must be the same for the same input",
    "uuid.rfc4122": "a decision must be the same for the same input",
    "http.send": "a decision may not wait for the network",
    "net.lookup_ip_addr": "a decision may not wait for the network",
    "opa.runtime": "a decision may not depend on the environment of the process",
}


def tokens(source: str) -> Iterator[RegoToken]:
    """The words of a Rego module; comments and white space are left out, texts stay one token each."""
    line, spaced = 1, False
    for match in _TOKEN.finditer(source):
        kind, text = str(match.lastgroup), match.group()
        if kind == "space":
            spaced = True
        else:
            yield RegoToken(kind, text, line, spaced)
            spaced = False
        line += text.count("\n")


class RegoModule(NamedTuple):
    """A Rego file as the lint sees it."""

    file: str
    words: list[RegoToken]
    package: str
    rules: frozenset[str]
    """Names that a rule or a function of the file defines."""
    functions: frozenset[str]
    """Paths of those of them that take arguments: `f`, or `a.f` of the rule `a.f(x)`."""
    imports: dict[str, str]
    """Alias → full path."""


def read_module(file: str, source: str) -> RegoModule:
    """Split a module into words and find its package, its rules and its imports."""
    words = list(tokens(source))
    package, depth, at = "", 0, 0
    rules: set[str] = set()
    functions: set[str] = set()
    imports: dict[str, str] = {}
    while at < len(words):
        word = words[at]
        if word.kind == "sign":
            depth += (word.text in "([{") - (word.text in ")]}")
        elif depth == 0 and word.kind == "name" and _begins(words, at):
            if word.text in ("package", "import"):
                path, end = _path(words, at + 1)
                aliased = end + 1 < len(words) and words[end].text == "as"
                if word.text == "package":
                    package = path
                else:
                    imports[words[end + 1].text if aliased else path.rsplit(".", 1)[-1]] = path
                at = end
                continue
            head = at + 1 if word.text == "default" and at + 1 < len(words) else at
            if words[head].text not in _NO_RULES:
                rules.add(words[head].text)
                path, end = _path(words, head)
                if end < len(words) and words[end].text == "(":
                    functions.add(path)
        at += 1
    return RegoModule(file, words, package, frozenset(rules), frozenset(functions), imports)


def _begins(words: list[RegoToken], at: int) -> bool:
    """Whether the word is the first of a rule: it follows a line break or semicolon, and nothing waits for more."""
    if at == 0:
        return True
    before = words[at - 1]
    if before.text == ";":
        return True
    if before.line == words[at].line:
        return False
    if _is_field(words, at - 1):
        return True  # `data.caps.default` ends in a field, whatever that is called
    waits = before.text in _NO_RULES - {"true", "false", "null"}
    return not waits and (before.kind != "sign" or before.text in (")", "]", "}"))


def _is_field(words: list[RegoToken], at: int) -> bool:
    """Whether the word is part of a path, where keywords are names like others."""
    return at > 0 and words[at].kind == "name" and words[at - 1].text == "."


def _path(words: list[RegoToken], at: int) -> tuple[str, int]:
    """The dotted path that starts at `at`, and where it ends."""
    parts = [words[at].text] if at < len(words) else []
    at += 1
    while at + 1 < len(words) and words[at].text == "." and words[at + 1].kind == "name":
        parts.append(words[at + 1].text)
        at += 2
    return ".".join(parts), at


def lint(modules: Collection[RegoModule], is_builtin: Callable[[str], bool]) -> list[str]:
    """What must not be trusted in a set of modules; one sentence per finding, empty when all is well.

    Args:
        modules: every module of the policy.
        is_builtin: whether the engine that will decide has a function of this name.
    """
    functions = {f"data.{m.package}.{name}" for m in modules for name in m.functions}
    return [f"{m.file}:{line}: {what}" for m in modules for line, what in _findings(m, functions, is_builtin)]


def _findings(m: RegoModule, functions: set[str], is_builtin: Callable[[str], bool]) -> Iterator[tuple[int, str]]:
    words = m.words
    at = 0
    while at < len(words):
        word = words[at]
        if word.kind == "template":
            yield word.line, "text with expressions inside cannot be checked; use sprintf"
        if word.kind != "name" or _is_field(words, at):
            at += 1
            continue
        if word.text == "not":
            yield from _negation(words, at, m)
        if word.text == "with":
            yield word.line, "`with` may only stand in tests (*_test.rego): the engine ends its process over some uses"
        if word.text in _KEYWORDS:
            at += 1
            continue
        path, end = _path(words, at)
        if end < len(words) and words[end].text == "(":
            yield from _call(path, word.line, m, functions, is_builtin)
        elif path in _FORBIDDEN:
            yield word.line, f"{path} may not be used: {_FORBIDDEN[path]}"
        at = end
    for before, word in pairwise(words):
        # a function reached through brackets has no name that could be looked up
        if before.text == "]" and word.text == "(" and not word.spaced:
            yield word.line, "a function must be called by its plain name"


def _call(
    path: str, line: int, m: RegoModule, functions: set[str], is_builtin: Callable[[str], bool]
) -> Iterator[tuple[int, str]]:
    if path in _FORBIDDEN:
        yield line, f"{path} may not be used: {_FORBIDDEN[path]}"
        return
    head, _, rest = path.partition(".")
    full = f"{m.imports[head]}.{rest}" if rest and head in m.imports else m.imports.get(path, path)
    local = path in m.functions
    if not (local or full in functions or is_builtin(path)):
        yield line, f"{path} is neither a function of this policy nor one that the engine has"


def _negation(words: list[RegoToken], at: int, m: RegoModule) -> Iterator[tuple[int, str]]:
    """Engines disagree on `not` over anything that may be undefined, except over a rule of the same file."""
    path, end = _path(words, at + 1)
    follows = words[end] if end < len(words) else None
    # the name must be the whole expression: it ends with the body, a semicolon, or a line after which no sign goes on
    ends = (
        follows is None
        or follows.text in ("}", "]", ";")
        or (follows.line != words[end - 1].line and follows.text not in _GOES_ON and follows.text != "in")
    )
    if not ends or not _NAME.fullmatch(path):
        what = "after `not` only the name of a rule of this file may stand; move the rest into such a rule"
        yield words[at].line, what
    elif path not in m.rules:
        what = f"{path} is no rule of this file, and after `not` only the name of one may stand"
        yield words[at].line, what


def refuse(findings: list[str], folder: str) -> None:
    """Raise when `findings` is not empty.

    Raises:
        MisuseError: naming the first findings.
    """
    if findings:
        more = f" (and {len(findings) - 3} more)" if len(findings) > 3 else ""
        raise MisuseError(f"The policy in {folder} is refused: {'; '.join(findings[:3])}{more}.", hint="Mend the file.")
