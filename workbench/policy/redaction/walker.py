"""One pass over a JSON value for the redactor: named columns whole, other texts through the prefilter.

This is the redactor's hot path: it runs over every result and every record. Containers are copied only where something
below them changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson

from workbench.json_values import MAX_DEPTH
from workbench.policy.redaction import secret_patterns
from workbench.policy.redaction.field_names import FieldName, WithheldColumns
from workbench.policy.redaction.recognizers import CANDIDATE, candidate, suspicious
from workbench.policy.redaction.secret_patterns import SECRET, Profile
from workbench.scanning import OverBudgetError, PostponedError, ScanBudget

if TYPE_CHECKING:
    from workbench.policy.redaction.redactor import Redactor

WITHHELD = "<REDACTED>"
"""Stands for a value that could not be looked at."""
MAX_NODES = 500_000
MAX_SUSPICIOUS = 256 * 1024
"""Characters of suspicious text that one pass has read; the rest is withheld. The worst of texts costs 12 µs a
character, and a server could send megabytes of it."""
MAX_INNER = 200_000
"""Values of a JSON document that stands in a text. One call parses it, and no other thread runs meanwhile."""
SMALL = 64 << 10
"""Bytes of a value whose texts are each searched whole."""
_MIN_LENGTH = 6
"""No personal data that we know has fewer characters."""
_LONG = 10**12
"""Whole numbers from here on may be those of a card."""

_UNKNOWN = FieldName()
"""Stands for a name that was not looked at so far."""
_PLAIN = frozenset((float, bool, type(None)))
_ROWS = frozenset(("rows", "data", "values", "records"))


class RedactionWalk:
    """The state of one pass.

    Args:
        redactor: replaces texts and makes tokens.
        columns: which keys name what.
        tenant: whose tokens.
        profile: which credentials count; the record is also lenient with personal data.
        hinted: whether any text of the value may hold a credential.
        size: bytes of the value as JSON; 0 when nobody knows.
        inline: whether it runs where nobody else can run meanwhile; then PostponedError says that there is too much.
    """

    def __init__(
        self,
        redactor: Redactor,
        columns: WithheldColumns,
        tenant: str,
        *,
        profile: Profile,
        hinted: bool,
        size: int,
        inline: bool = False,
    ) -> None:
        self.count = 0
        """Values replaced so far."""
        self._redactor = redactor
        self._columns = columns
        self._known = columns.known
        self._tenant = tenant
        self._profile: Profile = profile
        self._lenient = profile == "record"
        self._inline = inline
        self._spent: ScanBudget | None = None
        # the search of a whole text is quicker, but keeps the interpreter for as long as a huge one takes
        self._prefilter: Callable[[str], re.Match[str] | bool | None] = (
            _every if hinted else CANDIDATE.search if 0 < size <= SMALL else self._candidate
        )
        self._left = MAX_NODES
        self._readable = MAX_SUSPICIOUS

    def value(self, value: Any, depth: int = 0) -> Any:
        """`value` with everything replaced that must be; the same object when nothing was."""
        kind = type(value)
        if kind is str:
            return self._text(value, depth) if len(value) >= _MIN_LENGTH and self._prefilter(value) else value
        if kind is int:
            return self._number(value) if value >= _LONG else value
        if kind in _PLAIN:
            return value
        if kind is dict:
            return self._dict(value, depth) if self._within(depth, len(value)) else self._withheld()
        if kind is list or kind is tuple:
            return self._list(value, depth) if self._within(depth, len(value)) else self._withheld()
        # bytes, dates and what else an embedded caller may hand over
        return self.value(str(value), depth)

    def _candidate(self, text: str) -> bool:
        try:
            return candidate(text, self._budget())
        except OverBudgetError:
            return True  # it is withheld where it is looked at more closely

    def _budget(self) -> ScanBudget:
        """Of this pass; made when it is needed, which for a value without anything suspicious it never is."""
        if self._spent is None:
            self._spent = ScanBudget(inline=self._inline)
        return self._spent

    def _within(self, depth: int, size: int) -> bool:
        self._left -= size + 1
        return depth < MAX_DEPTH and self._left > 0

    def _withheld(self) -> str:
        self.count += 1
        return WITHHELD

    def _text(self, text: str, depth: int) -> str:
        bare = text.strip()
        if bare and bare[0] in "{[" and bare[-1] in "}]":
            inner = self._json(text, depth)
            if inner is not None:
                return inner
        try:
            if suspicious(text, self._budget()):
                self._readable -= len(text)
                if self._readable < 0:
                    return self._withheld()
                self._budget().take(len(text))
            seen, n = self._redactor.text(
                text, self._tenant, lenient=self._lenient, profile=self._profile, budget=self._budget()
            )
        except OverBudgetError:
            return self._withheld()
        self.count += n
        return seen

    def _address(self, uri: str) -> str:
        try:
            if not suspicious(uri, self._budget()) and not secret_patterns.hinted(uri):
                return uri
            self._budget().take(len(uri))
            seen, n = self._redactor.address(uri, self._tenant, self._budget())
        except OverBudgetError:
            return self._withheld()
        self.count += n
        return seen

    def _json(self, text: str, depth: int) -> str | None:
        """A text that is itself JSON is searched by its columns too; None when it is not JSON."""
        if text.count(",") > min(self._left, MAX_INNER):
            return self._withheld()  # more than this pass looks at, and parsing it would keep others waiting
        try:
            inner = orjson.loads(text)
        except orjson.JSONDecodeError:
            return None
        before = self.count
        changed = self.value(inner, depth + 1)
        if self.count == before:
            return text
        return orjson.dumps(changed, option=orjson.OPT_INDENT_2 if "\n  " in text else 0).decode()

    def _number(self, value: int) -> Any:
        """Card numbers are stored as numbers now and then; the other kinds cannot be told from ids."""
        text = str(value)
        if not self._lenient or not 13 <= len(text) <= 19 or text[0] not in "3456":
            return value
        seen, n = self._redactor.text(text, self._tenant, lenient=True)
        self.count += n
        return seen if n else value

    def _list(self, items: Any, depth: int) -> Any:
        changed: list[Any] | None = None
        for i, item in enumerate(items):
            new = self.value(item, depth + 1)
            if new is not item:
                changed = list(items) if changed is None else changed
                changed[i] = new
        return items if changed is None else changed

    def _dict(self, items: dict[Any, Any], depth: int) -> dict[Any, Any]:
        changed: dict[Any, Any] | None = None
        known, prefilter = self._known, self._prefilter
        positions = self._positions(items) if "columns" in items else {}
        rename = False
        for name, item in items.items():
            key = known.get(name, _UNKNOWN)
            if key is _UNKNOWN:
                key = self._columns.key(name)
            if key is None:  # nothing special about the name: the common case, kept short
                kind = type(item)
                if kind is str:
                    if len(item) < _MIN_LENGTH or not prefilter(item):
                        continue
                elif kind in _PLAIN or (kind is int and item < _LONG):
                    continue
                new = self._rows(item, positions, depth) if positions and name in _ROWS else self.value(item, depth + 1)
            else:
                rename = rename or key.suspicious
                new = self._named(item, key, depth)
            if new is not item:
                changed = dict(items) if changed is None else changed
                changed[name] = new
        if rename:
            return self._renamed(items if changed is None else changed)
        return items if changed is None else changed

    def _named(self, value: Any, key: FieldName, depth: int) -> Any:
        if key.secret:
            return self._hidden(value, key.secret == "text", depth)
        if key.kind:
            return self._whole(value, key.kind, depth)
        if key.address and type(value) is str and len(value) >= _MIN_LENGTH:
            return self._address(value)
        return self.value(value, depth + 1)

    def _renamed(self, items: dict[Any, Any]) -> dict[Any, Any]:
        """Keys can be personal data themselves."""
        named: dict[Any, Any] = {}
        before = self.count
        for name, item in items.items():
            # JSON has no business in a key
            new = self._text(name, MAX_DEPTH) if isinstance(name, str) else name
            while new in named:
                new += "'"
            named[new] = item
        return items if self.count == before else named

    # --- tables: {"columns": [...], "rows": [[...]]} ---------------------------------------------

    def _positions(self, items: dict[Any, Any]) -> dict[int, FieldName]:
        """Which positions of a row hold a named column."""
        names = items["columns"]
        if type(names) is not list:
            return {}
        found = {}
        for i, column in enumerate(names):
            name = column.get("name") if type(column) is dict else column
            key = self._columns.key(name) if type(name) is str else None
            if key is not None and (key.kind or key.secret):
                found[i] = key
        return found

    def _rows(self, rows: Any, positions: dict[int, FieldName], depth: int) -> Any:
        if type(rows) is not list or not self._within(depth, len(rows)):
            return self.value(rows, depth + 1)
        return [self._row(row, positions, depth + 1) for row in rows]

    def _row(self, row: Any, positions: dict[int, FieldName], depth: int) -> Any:
        if type(row) not in (list, tuple) or not self._within(depth, len(row)):
            return self.value(row, depth)
        return [
            self._named(v, positions[i], depth) if i in positions else self.value(v, depth + 1)
            for i, v in enumerate(row)
        ]

    # --- replacing whole -------------------------------------------------------------------------

    def _whole(self, value: Any, kind: str, depth: int) -> Any:
        """Every text and number below a named column, replaced whole."""
        if value is None or type(value) is bool or value == "":
            return value
        if type(value) in (list, tuple, dict):
            return self._each(value, depth, lambda v: self._whole(v, kind, depth + 1))
        text = str(value)
        if type(value) in (int, float) and sum(c.isdigit() for c in text) < 7:
            return value  # a count or a flag that happens to be named so
        self.count += 1
        return self._redactor.token(kind, text, self._tenant)

    def _hidden(self, value: Any, texts_only: bool, depth: int) -> Any:
        """A credential; where only texts can be one, numbers stay."""
        if value is None or type(value) is bool or value in ("", SECRET):
            return value
        if texts_only and type(value) in (int, float):
            return value
        if texts_only and type(value) in (list, tuple, dict):
            return self._each(value, depth, lambda v: self._hidden(v, texts_only, depth + 1))
        self.count += 1
        return SECRET

    def _each(self, value: Any, depth: int, change: Callable[[Any], Any]) -> Any:
        if not self._within(depth, len(value)):
            return self._withheld()
        if type(value) is dict:
            changed = {k: change(v) for k, v in value.items()}
            doubtful = any((key := self._columns.key(k)) is not None and key.suspicious for k in value)
            return self._renamed(changed) if doubtful else changed
        return [change(v) for v in value]


def _every(text: str) -> bool:
    """The prefilter of a value that may hold credentials: every text is looked at."""
    return True


def may_hold_credentials(value: Any, *, inline: bool = False) -> tuple[bool, int]:
    """Whether any text in a whole value may hold a credential, and how many bytes its JSON has.

    One look at its JSON is cheaper than one at each text.

    Raises:
        PostponedError: with `inline`, when the value is not small.
    """
    try:
        encoded = orjson.dumps(value)
    except TypeError:  # not JSON as it stands, so each text has to be looked at
        return True, 0
    if inline and len(encoded) > SMALL:
        raise PostponedError
    return secret_patterns.hinted(encoded), len(encoded)
