"""Values that a schema lists, which a client has to send back exactly, although it was shown tokens in their place.

`enum`, `const`, `default` and `examples` may hold personal data, as when a tool lists the addresses that it can write
to. Clients see `<EMAIL:9f86d081>` there, like everywhere in lists, and send that. It is turned back only for a schema
that lists the value, so that no token that was seen elsewhere becomes what it stands for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from workbench.events import JSON
from workbench.policy.redaction.redactor import Redactor
from workbench.policy.redaction.walker import WITHHELD

KEYWORDS: Final = frozenset({"enum", "const", "default", "examples"})

MAX_REMEMBERED: Final = 10_000
MAX_VALUES: Final = 10_000
"""Values of one schema that are looked at."""

READY_TIMEOUT_S: Final = 15.0


class ListedValues:
    """Turns what clients were shown of the values in schemas back into these.

    Args:
        redactor: which made the tokens.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._doubtful: dict[str, tuple[str, ...]] = {}
        self._shown: dict[tuple[str, str], dict[str, str]] = {}

    def doubtful(self, schema: JSON, mark: str = "") -> tuple[str, ...]:
        """Values of `schema` that may be shown as something else; nearly always none.

        Args:
            schema: of arguments or of a form.
            mark: what tells it from others, to remember the answer by; empty: it is not remembered.
        """
        found = self._doubtful.get(mark)
        if found is None:
            values = (value for value, _ in zip(_values(schema), range(MAX_VALUES), strict=False))
            found = tuple(dict.fromkeys(value for value in values if self._redactor.doubtful(value.encode())))
            if mark:
                if len(self._doubtful) >= MAX_REMEMBERED:
                    self._doubtful.clear()
                self._doubtful[mark] = found
        return found

    def restored(self, given: JSON, doubtful: tuple[str, ...], tenant: str, mark: str = "") -> JSON:
        """`given` with the values of a schema in place of what stood for them; the same object when there was nothing.

        Searches texts; the recognisers have to be there.

        Args:
            given: arguments, or the content of a form.
            doubtful: as `doubtful` says.
            tenant: whose tokens they are.
            mark: see `doubtful`.
        """
        key = (mark, tenant)
        shown = self._shown.get(key) if mark else None
        if shown is None:
            shown = self._meanings(doubtful, tenant)
            if mark and self._redactor.ready:
                if len(self._shown) >= MAX_REMEMBERED:
                    self._shown.clear()
                self._shown[key] = shown
        changed: JSON = _replaced(given, shown) if shown else given
        return changed

    def wait(self) -> None:
        """Wait for the recognisers; not on an event loop."""
        self._redactor.wait(READY_TIMEOUT_S)

    @property
    def ready(self) -> bool:
        """Whether texts can be searched."""
        return self._redactor.ready

    def _meanings(self, values: tuple[str, ...], tenant: str) -> dict[str, str]:
        """What each shown form stands for, where it can be only one value."""
        meanings: dict[str, str] = {}
        unclear = {WITHHELD, *values}
        for value in values:
            shown = self._redactor.prose(value, tenant, "result")[0]
            if shown in meanings:
                unclear.add(shown)
            meanings[shown] = value
        return {shown: value for shown, value in meanings.items() if shown not in unclear}


def _values(schema: Any) -> Iterator[str]:
    """Texts among the values that a schema lists."""
    waiting: list[tuple[Any, bool]] = [(schema, False)]
    while waiting:
        value, listed = waiting.pop()
        if isinstance(value, str):
            if listed:
                yield value
        elif isinstance(value, dict):
            waiting += [(item, listed or key in KEYWORDS) for key, item in value.items()]
        elif isinstance(value, list | tuple):
            waiting += [(item, listed) for item in value]


def _replaced(value: Any, meanings: dict[str, str]) -> Any:
    if isinstance(value, str):
        return meanings.get(value, value)
    if isinstance(value, dict):
        found = {key: _replaced(item, meanings) for key, item in value.items()}
        return found if any(found[key] is not value[key] for key in value) else value
    if isinstance(value, list):
        items = [_replaced(item, meanings) for item in value]
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    return value
