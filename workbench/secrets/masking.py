"""The values of secrets that this process has read, so that none of them leaves it in a message.

The rule is that nothing puts a secret into a message. This is for what is out of our hands: a server that echoes the
credential it was given, a child that prints its environment, a library that logs a URL with its password.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import traceback
from collections.abc import Generator, Iterable, Mapping
from types import TracebackType
from typing import Any, Final, NamedTuple, TypeVar, cast

T = TypeVar("T")

HIDDEN: Final = "<secret>"
MIN_LENGTH: Final = 6
"""Characters. Shorter values would take ordinary words out of texts."""
MAX_VALUES: Final = 512
"""Values that are remembered; beyond that the oldest are forgotten, which rotation has long made useless."""

_TELLING = re.compile(r"(?i)(?:key|token|secret|passwor[dt]|authorization|credentials?|cookie)$")
_SCHEME = re.compile(r"(?i)(?:bearer|basic|token|apikey) +(\S+)")
_PASSWORD = re.compile(r"://[^/@:\s]*:([^/@\s]+)@")

_RARE: Final = "QZXJqzKVWYkjxvwUGHBPFMLDNRTSOIEACyfgbphdmcluorwnsita0123456789"
"""Letters from the rarest in what servers answer to the most frequent."""


class _Form(NamedTuple):
    """One way in which a value can stand in a text."""

    mark: str
    """Its rarest letter. Texts without that need no closer look, and one letter is found ten times as fast."""
    text: str
    mark_bytes: bytes
    data: bytes


class _Index(NamedTuple):
    """What of the forms is looked for in long texts, all at once."""

    forms: tuple[_Form, ...]
    short: tuple[_Form, ...]
    """Too short to be found by words."""
    words: frozenset[int]
    """Eight bytes in a row of the others, where they begin in the first `step` times eight."""
    places: dict[int, tuple[tuple[int, int], ...]]
    """How many bytes after their beginning a word stands in forms, and the lengths of those forms. Keys of one issuer
    begin alike, and are as long as each other: one look tells whether any of them is there."""
    values: frozenset[bytes]
    step: int
    """Of how many words one has to be looked at."""


_FEW: Final = 8
_SHORT: Final = 4 << 10
"""Up to so many forms, or bytes of a text, one search for each form is quicker."""
_WORD: Final = 8
_WORDS_AT_ONCE: Final = 8 << 10
"""Others run between two such pieces."""
_PARTS_AT_ONCE: Final = 8 << 10
"""Parts of a text that are put together at once."""

_values: dict[str, tuple[_Form, ...]] = {}
_lasting: set[str] = set()
"""Of the values those that nobody says again."""
_forms: tuple[_Form, ...] = ()
_index: _Index | None = None
_lock = threading.Lock()


def remember(value: str) -> None:
    """From now on `value` is hidden in all texts that are looked through; saying it again keeps it remembered."""
    global _forms
    if len(value) < MIN_LENGTH:
        return
    with _lock:
        if (known := _values.pop(value, None)) is not None:
            _values[value] = known
            return
        escaped = json.dumps(value)[1:-1]
        _values[value] = tuple(_form(text) for text in dict.fromkeys((value, escaped)))
        while len(_values) > MAX_VALUES:
            others = (each for each in _values if each not in _lasting and each != value)
            oldest = next(others, None) or next(iter(_values))
            del _values[oldest]
            _lasting.discard(oldest)
        every = [form for forms in _values.values() for form in forms]
        _forms = tuple(sorted(every, key=lambda form: -len(form.text)))  # a longer one may hold a shorter


def _form(text: str) -> _Form:
    mark = next((letter for letter in _RARE if letter in text), text[0])
    return _Form(mark, text, mark.encode(), text.encode("utf-8", "surrogatepass"))


def is_telling(name: str) -> bool:
    """Whether what a variable or a header is called says that it holds a secret."""
    return _TELLING.search(name) is not None


def remember_named(name: str, value: str) -> None:
    """Hide `value` if what it is called says that it is a secret: a variable, a header."""
    if _TELLING.search(name):
        _remember_lasting(value)
        if match := _SCHEME.fullmatch(value):
            _remember_lasting(match.group(1))


def remember_all(named: Mapping[str, str], urls: Iterable[str]) -> None:
    """Hide what variables call secrets, and the passwords in URLs."""
    for name, value in named.items():
        if not value.startswith("secret:"):
            remember_named(name, value)
    for url in urls:
        if match := _PASSWORD.search(url):
            _remember_lasting(match.group(1))


def _remember_lasting(value: str) -> None:
    """Hide what is said once, when something starts, and is good until it ends: it is forgotten last."""
    if len(value) >= MIN_LENGTH:
        _lasting.add(value)
        remember(value)


def hide(text: str) -> str:
    """`text` without the secrets that are known."""
    if len(_forms) > _FEW and len(text) > _SHORT:
        return hide_bytes(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")
    for mark, value, _, _ in _forms:
        if mark in text and value in text:
            text = text.replace(value, HIDDEN)
    return text


def hide_bytes(data: bytes) -> bytes:
    """JSON, or any other bytes, without the secrets that are known."""
    forms = _forms
    if len(forms) > _FEW and len(data) > _SHORT:
        return _to_the_end(hide_in_pieces(data))
    for _, _, mark, value in forms:
        if mark in data and value in data:
            data = data.replace(value, HIDDEN.encode())
    return data


def hide_in_pieces(data: bytes) -> Generator[None, None, bytes]:
    """As `hide_bytes`, yielding wherever others may be let on: for megabytes on an event loop."""
    forms = _forms
    if not forms:
        return data
    index = _indexed(forms)
    hits = yield from _in_words(data, index)
    if hits:
        data = yield from _without(data, index, hits)
    for _, _, mark, value in index.short:
        if mark in data and value in data:
            data = data.replace(value, HIDDEN.encode())
        yield
    return data


def _to_the_end(pieces: Generator[None, None, T]) -> T:
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            return cast("T", end.value)


def _indexed(forms: tuple[_Form, ...]) -> _Index:
    global _index
    index = _index
    if index is None or index.forms is not forms:
        index = _index = _index_of(forms)
    return index


def _in_words(data: bytes, index: _Index) -> Generator[None, None, list[int]]:
    """In which pieces of a long text a form may stand, as their first words.

    Wherever a value of 15 bytes or more stands, it covers eight bytes at a multiple of eight, and one of 39 bytes such
    a word at a multiple of 32. So one pass over some words is enough for all values together, where a search for each
    would take 0.4 ms in 4 MiB.
    """
    hits: list[int] = []
    words = memoryview(data)[: len(data) // _WORD * _WORD].cast("Q")
    for start in range(0, len(words), _WORDS_AT_ONCE):
        piece = words[start : start + _WORDS_AT_ONCE : index.step]
        if not index.words.isdisjoint(piece):
            hits.append(start)
        yield
    return hits


def _without(data: bytes, index: _Index, hits: list[int]) -> Generator[None, None, bytes]:
    """A long text without the forms of the index that stand in it, in one pass over those pieces that may hold some.

    One replacement for each form would take a millisecond or two, in some texts seven. What two forms that overlap
    cover together is hidden whole.
    """
    words = memoryview(data)[: len(data) // _WORD * _WORD].cast("Q")
    places_of, values, step, stride = index.places.get, index.values, index.step, index.step * _WORD
    done: list[bytes] = []
    parts: list[bytes] = []
    hidden = HIDDEN.encode()
    at = until = 0  # of what is hidden next
    written = 0
    for first in hits:
        piece = words[first : first + _WORDS_AT_ONCE : step]
        for number, places in enumerate(map(places_of, piece)):
            if places is None:
                continue
            for offset, length in places:
                start = first * _WORD + number * stride - offset
                end = start + length
                if start < 0 or data[start:end] not in values:
                    continue
                if start >= until:
                    if until:  # it is complete
                        parts.append(data[written:at])
                        written = until
                    at, until = start, end
                else:
                    at, until = min(start, at), max(end, until)
        if len(parts) > _PARTS_AT_ONCE:
            done.append(hidden.join(parts))
            parts.clear()
        yield
    if until:
        parts.append(data[written:at])
        written = until
    return hidden.join([*done, *parts, data[written:]])


def _index_of(forms: tuple[_Form, ...]) -> _Index:
    places: dict[int, set[tuple[int, int]]] = {}
    long = [form for form in forms if len(form.data) >= _covered(1)]
    shortest = min((len(form.data) for form in long), default=0)
    step = next((step for step in (4, 2) if shortest >= _covered(step)), 1)
    for form in long:
        for at in range(step * _WORD):  # the first word that is looked at begins in these bytes
            word = int.from_bytes(form.data[at : at + _WORD], sys.byteorder)
            places.setdefault(word, set()).add((at, len(form.data)))
    short = tuple(form for form in forms if len(form.data) < _covered(1))
    return _Index(
        forms, short, frozenset(places), {word: tuple(found) for word, found in places.items()},
        frozenset(form.data for form in long), step,
    )  # fmt: skip


def _covered(step: int) -> int:
    """Bytes that a value must have to cover one of every `step` words whole, wherever it stands."""
    return _WORD * (step + 1) - 1


def hide_in_logs() -> None:
    """Look through every log record and every traceback of this process from now on. Calling it again does nothing."""
    before = logging.getLogRecordFactory()
    if isinstance(before, _Factory):
        return
    logging.setLogRecordFactory(_Factory(before))
    hook = sys.excepthook

    def told(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        text = "".join(traceback.format_exception(kind, error, trace))
        if (clean := hide(text)) == text:
            hook(kind, error, trace)
        else:
            sys.stderr.write(clean)

    sys.excepthook = told


class _Factory:
    """Makes log records whose message and traceback hold no secret."""

    def __init__(self, before: Any) -> None:
        self._before = before

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record: logging.LogRecord = self._before(*args, **kwargs)
        if not _forms:
            return record
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # the arguments do not fit: the handler says so, in its own words
            record.msg, record.args = hide(repr((record.msg, record.args))), None
            return record
        if (clean := hide(message)) != message:
            record.msg, record.args = clean, None
        if record.exc_info and record.exc_info[0] is not None:
            # formatters take this text where it is there already
            record.exc_text = hide("".join(traceback.format_exception(*record.exc_info)).rstrip("\n"))
        return record
