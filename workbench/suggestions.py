"""Which name was probably meant by one that is not known: what stands behind every "Did you mean …?"."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

MAX_GUESSED: Final = 256
"""Characters of a name from which on nobody guesses what was meant: comparing takes time that others wait for."""

MIN_SIMILARITY: Final = 0.6
"""Share of two names that has to agree (`difflib`'s ratio, and its default): one letter of three may be wrong."""


def close_names(
    name: str, known: Iterable[str], limit: int = 3, *, similarity: float = MIN_SIMILARITY
) -> tuple[str, ...]:
    """Those of `known` that `name` was probably meant to be, best first.

    Upper and lower case count as the same. Where names are `server.tool`, a tool of the right name comes before every
    similar spelling.

    Args:
        name: what was given; may be of a stranger.
        known: what it can be; names longer than `MAX_GUESSED` are not compared.
        limit: how many at most.
        similarity: share that has to agree, more than the default where names are short and many.
    """
    if len(name) > MAX_GUESSED:
        return ()
    by_folded = {k.casefold(): k for k in known if len(k) <= MAX_GUESSED}
    folded = name.casefold()
    # A bare tool name needs no guessing; neither does one behind the wrong server.
    exact = [k for f, k in by_folded.items() if "." in f and f.split(".", 1)[1] == folded.rsplit(".", 1)[-1]]
    close = exact or [by_folded[f] for f in difflib.get_close_matches(folded, by_folded, limit, similarity)]
    return tuple(close[:limit])
