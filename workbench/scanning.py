"""Searching long texts without keeping the interpreter: in pieces, and only for so long.

One search of a regular expression in CPython runs to its end before any other thread does. So no text is searched
in one go that is longer than `PIECE`, a thread that works aside lets the others run between two pieces, and who has
used up the processor time of a pass gets no more: what was not searched then is withheld.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Generator, Iterator
from typing import Final, TypeVar

T = TypeVar("T")

PIECE: Final = 8 << 10
"""Characters that are searched at once."""

OVERLAP: Final = 8 << 10
"""Characters beyond a piece in which what began in it may end."""

MAX_CPU_S: Final = 1.0
"""Seconds of processor time for one pass over one value. What could not be searched in them is withheld."""

MAX_INLINE: Final = 8192
"""Characters of suspicious text that are read where nobody else can run meanwhile."""

_SLICE_S: Final = 0.002
_REST_S: Final = 0.0005

_aside = threading.local()


class PostponedError(Exception):
    """There is more to read than may be read here: do it in another thread."""


class OverBudgetError(Exception):
    """The processor time of this pass is used up."""


def work_aside() -> None:
    """Mark this thread as one that lets others run, e.g. as the `initializer` of an executor."""
    _aside.marked = True


class ScanBudget:
    """The processor time that one pass may use.

    Args:
        inline: whether it runs where nobody else can run meanwhile, so that only little may be read.
    """

    __slots__ = ("_left", "_rests", "_until", "_worked")

    def __init__(self, *, inline: bool = False) -> None:
        self._left = MAX_INLINE if inline else 0
        self._until = 0.0

    def take(self, characters: int) -> None:
        """To be called before so many characters are read closely.

        Raises:
            PostponedError: they are too many to be read here.
        """
        if self._left:
            if characters >= self._left:
                raise PostponedError
            self._left -= characters

    def step(self) -> None:
        """To be called between two pieces.

        Raises:
            OverBudgetError: no more pieces.
        """
        now = time.thread_time()
        if not self._until:  # a pass that finds nothing suspicious never comes here, and does not pay for it
            self._until, self._worked = now + MAX_CPU_S, now
            self._rests = getattr(_aside, "marked", False)
        elif now > self._until:
            raise OverBudgetError
        if self._rests and now - self._worked > _SLICE_S:
            time.sleep(_REST_S)
            self._worked = now


async def in_pieces(work: Generator[None, None, T]) -> T:
    """What `work` returns, on an event loop whose other tasks get their turn between two of its steps."""
    began = time.thread_time()
    while True:
        try:
            next(work)
        except StopIteration as end:
            found: T = end.value
            return found
        if time.thread_time() - began > _SLICE_S:
            await asyncio.sleep(0)
            began = time.thread_time()


def first(
    pattern: re.Pattern[str], text: str, budget: ScanBudget | None = None, *, piece: int = PIECE
) -> re.Match[str] | None:
    """The first match of `pattern` in `text`, for a pattern that matches no more than `piece` characters.

    Raises:
        OverBudgetError: the text could not be searched to its end.
    """
    for start in range(0, len(text), piece):
        found = pattern.search(text, start, start + 2 * piece)
        if found is not None:
            return found
        if budget is not None and len(text) > piece:
            budget.step()
    return None


def matches(pattern: re.Pattern[str], text: str, start: int, end: int) -> Iterator[tuple[re.Match[str], bool]]:
    """The matches that begin in `text[start:end]`, and whether each was cut off where the overlap ends."""
    reach = end + OVERLAP
    while start < end:
        found = pattern.search(text, start, reach)
        if found is None or found.start() >= end:
            return
        yield found, found.end() == reach < len(text)
        start = max(found.end(), found.start() + 1)


def end_of_run(pattern: re.Pattern[str], text: str, start: int) -> int:
    """Where the characters end, from `start` on, of which `pattern` matches as many as there are."""
    while (found := pattern.match(text, start, start + PIECE)) is not None and found.end() > start:
        start = found.end()
    return start
