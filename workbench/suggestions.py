"""Which name was probably meant by one that is not known: what stands behind every "Did you mean …?"."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MAX_GUESSED = 256
"""Characters of a name from which on nobody guesses what was meant: comparing takes time that others wait for."""


def close_names(name: str, known: Iterable[str], limit: int = 3) -> tuple[str, ...]:
    """Those of `known` that `name` was probably meant to be, best first."""
    if len(name) > MAX_GUESSED:
        return ()
    by_folded = {k.casefold(): k for k in known}
    folded = name.casefold()
    # A bare tool name needs no guessing; neither does one behind the wrong server.
    exact = [k for f, k in by_folded.items() if "." in f and f.split(".", 1)[1] == folded.rsplit(".", 1)[-1]]
    close = exact or [by_folded[f] for f in difflib.get_close_matches(folded, by_folded, limit, 0.6)]
    return tuple(close[:limit])
