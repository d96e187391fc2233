"""Words of size, money and direction, and the columns that they look for."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.agent.planner.language.lexicon import family, listed
from workbench.agent.planner.planner_data import lexicon

_DATA = lexicon().adjectives

_ADJECTIVES = {word: columns for columns, words in _DATA.columns.items() for word in words.split()}
"""Columns that a word of size or money looks for: `cheapest` looks for a price."""
FROM = _DATA.from_words
TO = _DATA.to_words

PERSONS = frozenset(map(family, listed(_DATA.persons)))
"""Words for people who do something to a record, in families."""
ROLES = frozenset(map(family, listed(_DATA.roles)))
"""Fields that name such a person, in families."""
UNSETTLED = _DATA.several_states
"""Words that stand for several states at once."""


def widened(words: Sequence[str]) -> tuple[str, ...]:
    """What adjectives of size stand for: `cheapest` looks for a price."""
    return tuple(x for w in words for x in _ADJECTIVES.get(w, "").split())
