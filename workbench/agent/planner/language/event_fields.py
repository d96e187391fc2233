"""Things that happen to a record on a day of its own: opened, cancelled, paid, due."""

from __future__ import annotations

from workbench.agent.planner.language.lexicon import close, family, listed, split
from workbench.agent.planner.planner_data import lexicon

BEGINNINGS = frozenset(map(family, listed(lexicon().events.beginnings)))
"""How records come to be, in families: a day that is not named otherwise is this one."""
ENDINGS = frozenset(map(family, listed(lexicon().events.endings)))
"""What may happen to a record later, in families."""
_AS_FIELD = {family(word): tuple(listed(names)) for word, names in lexicon().events.fields.items()}


def names_event(word: str, key: str) -> bool:
    """Whether a field says when the event of `word` happened: `ended_on` for `cancelled`."""
    words = split(key)
    if len(words) < 2 or words[-1] not in ("on", "at", "date", "time", "day"):
        return False
    wanted = _AS_FIELD.get(family(word), (word,))
    return any(close(w, k) for w in wanted for k in words[:-1])
