"""The redactor of each state folder of this process, for the rooms below the one that makes it.

What servers say of themselves stands on the record, and the record holds no personal data; but who writes it may not
know the rules.
"""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any, Protocol


class EventRedactor(Protocol):
    """Takes personal data and credentials out of what is recorded about servers."""

    def event(self, value: Any, tenant: str) -> Any:
        """`value` as it may be kept."""


_redactors: weakref.WeakValueDictionary[Path, EventRedactor] = weakref.WeakValueDictionary()


def register(home: Path, redactor: EventRedactor) -> None:
    """From now on `redactor` is that of a state folder."""
    _redactors[home] = redactor


def find(home: Path) -> EventRedactor | None:
    """The redactor of a state folder; None where no rules are loaded in this process."""
    return _redactors.get(home)
