"""Things that happen to a record on a day of its own: opened, cancelled, paid, due."""

from __future__ import annotations

from workbench.agent.planner.language.lexicon import alike, family, listed, split

BEGINNINGS = frozenset(
    map(family, listed("open create issue order sign start attempt launch place submit register hire join"))
)
"""How records come to be, in families: a day that is not named otherwise is this one."""
ENDINGS = frozenset(
    map(
        family,
        listed("cancel close resolve pay ship deliver refund return expire renew due end terminate churn reject"),
    )
)
"""What may happen to a record later, in families."""
_SPELLED = {
    "cancel": "cancel end terminate",
    "close": "close resolve end",
    "churn": "cancel end terminate",
    "terminate": "end terminate cancel",
    "expire": "expire end",
    "pay": "pay",
    "deliver": "deliver arrive",
    "ship": "ship dispatch",
}
_AS_FIELD = {family(word): tuple(listed(names)) for word, names in _SPELLED.items()}


def names_event(word: str, key: str) -> bool:
    """Whether a field says when the event of `word` happened: `ended_on` for `cancelled`."""
    words = split(key)
    if len(words) < 2 or words[-1] not in ("on", "at", "date", "time", "day"):
        return False
    wanted = _AS_FIELD.get(family(word), (word,))
    return any(alike(w, k) >= 0.85 for w in wanted for k in words[:-1])
