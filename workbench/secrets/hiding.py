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
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Final, NamedTuple

HIDDEN: Final = "<secret>"
SHORTEST: Final = 6
"""Characters. Shorter values would take ordinary words out of texts."""
MOST: Final = 512
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


_values: dict[str, tuple[_Form, ...]] = {}
_lasting: set[str] = set()
"""Of the values those that nobody says again."""
_forms: tuple[_Form, ...] = ()
_lock = threading.Lock()


def remember(value: str) -> None:
    """From now on `value` is hidden in all texts that are looked through; saying it again keeps it remembered."""
    global _forms
    if len(value) < SHORTEST:
        return
    with _lock:
        if (known := _values.pop(value, None)) is not None:
            _values[value] = known
            return
        escaped = json.dumps(value)[1:-1]
        _values[value] = tuple(_form(text) for text in dict.fromkeys((value, escaped)))
        while len(_values) > MOST:
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
    if len(value) >= SHORTEST:
        _lasting.add(value)
        remember(value)


def hide(text: str) -> str:
    """`text` without the secrets that are known."""
    for mark, value, _, _ in _forms:
        if mark in text and value in text:
            text = text.replace(value, HIDDEN)
    return text


def hide_bytes(data: bytes) -> bytes:
    """JSON, or any other bytes, without the secrets that are known."""
    for _, _, mark, value in _forms:
        if mark in data and value in data:
            data = data.replace(value, HIDDEN.encode())
    return data


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
