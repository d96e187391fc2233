"""Taking personal data out of results, and personal data and secrets out of the record.

Three tiers, cheapest first: values under named columns are replaced whole; other texts pass a prefilter; only what the
prefilter finds suspicious is read by Presidio. What is found becomes a typed token such as `<EMAIL:9f86d081>`, keyed
per tenant, so that analysts can still join on it and nobody can look it up.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from workbench.config import prepare_home
from workbench.events import Misuse
from workbench.policy import recognisers
from workbench.policy.columns import PERSONAL, Columns, columns, secrecy

WITHHELD = "<REDACTED>"
"""Stands for a text that could not be looked at."""
SECRET = "<SECRET>"
MAX_DEPTH = 64
MAX_NODES = 500_000
_CACHE_ENTRIES = 2048
_CACHED_LENGTH = 4096
_CARDLIKE = range(13, 20)

_SECRET_HINT = re.compile(
    r"mk_|sk[-_]|pk_|rk_|AIza|gh[pousr]_|github_pat_|glpat-|xox[a-z]-|AKIA|ASIA|eyJ|npm_|hf_|whsec_|SG\.|-----BEGIN"
    r"|://[^/\s]*@|[Bb]earer |BEARER |[Bb]asic |[Pp]assw|PASSW|[Ss]ecret|SECRET|[Tt]oken|TOKEN|[Aa]pi[-_ ]?[Kk]ey"
    r"|API[-_ ]?KEY|[Pp]wd|PWD|[Aa]uthorization|AUTHORIZATION"
)
_SECRETS = re.compile(
    r"""
    -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----.*?(?:-----END[ ][A-Z ]*PRIVATE[ ]KEY-----|\Z)
  | \beyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)?              # JWT
  | \b(?:mk_[a-z0-9]{6,}_[\w-]{16,}|sk-[\w-]{16,}|(?:sk|pk|rk)_(?:live|test)_\w{10,}|AIza[\w-]{30,}|gh[pousr]_\w{20,}
      |github_pat_\w{20,}|glpat-[\w-]{16,}|xox[a-z]-[\w-]{10,}|(?:AKIA|ASIA)[A-Z0-9]{16}|npm_\w{30,}|hf_\w{20,}
      |whsec_\w{16,}|SG\.[\w-]{16,}\.[\w-]{16,})
  | (?<=://)[^/\s:@]*:[^/\s@]+(?=@)                        # user:password@ in a URL
  | (?i:(?<=bearer\ )|(?<=basic\ ))[\w.~+/=-]{8,}
  | (?i:\b(?:password|passwd|pwd|secret|token|api[-_ ]?key|authorization)["']?\s*(?:[:=]|\bis\b)\s*)
    (?P<value>"[^"]*"|'[^']*'|[^\s,;&"']+)
    """,
    re.VERBOSE | re.DOTALL,
)


class Redactor:
    """Replaces what may not leave or may not be kept.

    Args:
        home: the state folder; the key of the tokens is made there once, readable by its owner alone.
    """

    def __init__(self, home: Path) -> None:
        self._key = _master_key(prepare_home(home) / "redaction.key")
        self._recognisers = recognisers.shared()
        self._tenant_keys: dict[str, bytes] = {}
        self._leaves: OrderedDict[bytes, tuple[str, int]] = OrderedDict()

    def warm(self) -> None:
        """Load the recognisers in the background. Until they are there, suspicious text is withheld whole."""
        self._recognisers.warm()

    @property
    def ready(self) -> bool:
        """Whether suspicious text is looked at rather than withheld."""
        return self._recognisers.ready

    @property
    def problem(self) -> str:
        """Why the recognisers could not be loaded; empty when they could, or are still loading."""
        return self._recognisers.problem

    def result(self, value: Any, names: Iterable[str], tenant: str) -> tuple[Any, int]:
        """A tool's result as the caller may see it.

        Args:
            value: plain JSON data; it is not changed.
            names: columns to withhold, `Decision.redact`. None of them: the caller sees personal data, nothing changes.
            tenant: whose key the tokens are made with.

        Returns:
            The value (the same object when nothing was found), and how many values were replaced.
        """
        wanted = tuple(names)
        if not wanted:
            return value, 0
        walk = _Walk(self, columns(wanted, False), tenant, lenient=False)
        return walk.value(value, 0), walk.count

    def record(self, value: Any, tenant: str) -> Any:
        """`value` as it may be kept: no personal data, no credentials, rather too little than too much.

        To be applied before anything is queued or written.
        """
        return _Walk(self, columns(PERSONAL, True), tenant, lenient=True).value(value, 0)

    def token(self, kind: str, value: str, tenant: str) -> str:
        """`<KIND:8 hex digits>`: HMAC-SHA256 (RFC 2104) over the value as it compares, with the tenant's key.

        Spelling that does not matter is taken off first: case of an email, everything but digits of a number.
        """
        key = self._tenant_keys.get(tenant)
        if key is None:
            if len(self._tenant_keys) > 10_000:
                self._tenant_keys.clear()
            key = self._tenant_keys[tenant] = hmac.digest(self._key, _bytes(f"tenant\0{tenant}"), "sha256")
        same = value.strip().lower()
        if kind in ("PHONE", "SSN", "CARD"):
            same = "".join(c for c in same if c.isdigit()) or same
        elif kind == "IBAN":
            same = same.replace(" ", "").replace("-", "")
        mark = hmac.digest(key, _bytes(f"{kind}\0{same}"), "sha256").hex()[:8]
        return f"<{kind}:{mark}>"

    def text(self, text: str, tenant: str, *, lenient: bool) -> tuple[str, int]:
        """One free text, and how many pieces of it were replaced."""
        count = 0
        if lenient and _SECRET_HINT.search(text):
            text, count = _SECRETS.subn(_without_secret, text)
        if len(text) < 6 or not recognisers.suspicious(text):
            return text, count
        if not self._recognisers.ready:
            self._recognisers.warm()
            return WITHHELD, count + 1
        if len(text) > _CACHED_LENGTH:
            found, n = self._replaced(text, tenant, lenient)
            return found, n + count
        key = hashlib.blake2b(_bytes(f"{int(lenient)}{tenant}\0{text}"), digest_size=16).digest()
        known = self._leaves.get(key)
        if known is None:
            known = self._leaves[key] = self._replaced(text, tenant, lenient)
            if len(self._leaves) > _CACHE_ENTRIES:
                self._leaves.popitem(last=False)
        return known[0], known[1] + count

    def _replaced(self, text: str, tenant: str, lenient: bool) -> tuple[str, int]:
        spans = self._recognisers.find(text, lenient=lenient)
        if not spans:
            return text, 0
        parts: list[str] = []
        at = 0
        for span in spans:
            parts += text[at : span.start], self.token(span.type, text[span.start : span.end], tenant)
            at = span.end
        parts.append(text[at:])
        return "".join(parts), len(spans)


class _Walk:
    """One pass over one value. Containers are copied only where something below them changed."""

    def __init__(self, redactor: Redactor, wanted: Columns, tenant: str, *, lenient: bool) -> None:
        self.redactor = redactor
        self.wanted = wanted
        self.tenant = tenant
        self.lenient = lenient
        self.count = 0
        self._left = MAX_NODES

    def value(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind is str:
            return self._text(value, depth) if len(value) > 5 else value
        if kind is dict:
            return self._dict(value, depth) if self._within(depth, len(value)) else self._withheld()
        if kind is list or kind is tuple:
            return self._list(value, depth) if self._within(depth, len(value)) else self._withheld()
        if kind is int and self.lenient and value > 10**12 and len(str(value)) in _CARDLIKE and str(value)[0] in "3456":
            seen, n = self.redactor.text(str(value), self.tenant, lenient=True)
            self.count += n
            return seen if n else value
        if kind is int or kind is float or kind is bool or value is None:
            return value
        # bytes, dates and what else an embedded caller may hand over
        return self._text(str(value), depth)

    def _within(self, depth: int, size: int) -> bool:
        self._left -= size + 1
        return depth < MAX_DEPTH and self._left > 0

    def _withheld(self) -> str:
        self.count += 1
        return WITHHELD

    def _text(self, text: str, depth: int) -> str:
        if text[0] in "{[" and text.rstrip()[-1] in "}]":
            inner = self._json(text, depth)
            if inner is not None:
                return inner
        seen, n = self.redactor.text(text, self.tenant, lenient=self.lenient)
        self.count += n
        return seen

    def _json(self, text: str, depth: int) -> str | None:
        """A text that is itself JSON is searched by its columns too; None when it is not JSON."""
        try:
            inner = orjson.loads(text)
        except orjson.JSONDecodeError:
            return None
        before = self.count
        changed = self.value(inner, depth + 1)
        if self.count == before:
            return text
        return orjson.dumps(changed, option=orjson.OPT_INDENT_2 if "\n  " in text else 0).decode()

    def _list(self, items: Any, depth: int) -> Any:
        changed: list[Any] | None = None
        for i, item in enumerate(items):
            if type(item) in _PLAIN or (type(item) is int and item < 10**12):
                continue
            new = self.value(item, depth + 1)
            if new is not item:
                changed = list(items) if changed is None else changed
                changed[i] = new
        return items if changed is None else changed

    def _dict(self, items: dict[Any, Any], depth: int) -> dict[Any, Any]:
        changed: dict[Any, Any] | None = None
        by_position = self._positions(items)
        renamed = False
        for key, item in items.items():
            if type(key) is str:
                if self.lenient and (level := secrecy(key)):
                    new = self._hidden(item, level, depth)
                elif kind := self.wanted.type_of(key):
                    new = self._whole(item, kind, depth)
                elif by_position and key in _ROWS:
                    new = self._rows(item, by_position, depth)
                else:
                    new = self.value(item, depth + 1)
                renamed = renamed or (len(key) > 5 and recognisers.suspicious(key))
            else:
                new = self.value(item, depth + 1)
            if new is not item:
                changed = dict(items) if changed is None else changed
                changed[key] = new
        return self._keys(items if changed is None else changed) if renamed else items if changed is None else changed

    def _keys(self, items: dict[Any, Any]) -> dict[Any, Any]:
        """Keys can be personal data themselves."""
        named: dict[Any, Any] = {}
        for key, item in items.items():
            new = self._text(key, MAX_DEPTH) if type(key) is str else key
            while new in named:
                new += "'"
            named[new] = item
        return named

    def _positions(self, items: dict[Any, Any]) -> dict[int, str]:
        """For `{"columns": [...], "rows": [[...]]}`: which positions of a row are to be withheld."""
        names = items.get("columns")
        if type(names) is not list:
            return {}
        found = {}
        for i, column in enumerate(names[:10_000]):
            name = column.get("name") if type(column) is dict else column
            if type(name) is str and (kind := self._kind(name)):
                found[i] = kind
        return found

    def _kind(self, name: str) -> str:
        return (self.lenient and secrecy(name)) or self.wanted.type_of(name)

    def _rows(self, rows: Any, kinds: dict[int, str], depth: int) -> Any:
        if type(rows) is not list or not self._within(depth, len(rows)):
            return self.value(rows, depth + 1)
        return [self._row(r, kinds, depth + 1) if type(r) in (list, tuple) else self.value(r, depth + 1) for r in rows]

    def _row(self, row: Any, kinds: dict[int, str], depth: int) -> list[Any]:
        self._left -= len(row)
        return [self._cell(v, kinds.get(i, ""), depth) for i, v in enumerate(row)]

    def _cell(self, value: Any, kind: str, depth: int) -> Any:
        if kind == "text" or kind == "all":
            return self._hidden(value, kind, depth)
        return self._whole(value, kind, depth) if kind else self.value(value, depth + 1)

    def _whole(self, value: Any, kind: str, depth: int) -> Any:
        """Every text and number below a named column, replaced whole."""
        if value is None or type(value) is bool or value == "":
            return value
        if type(value) in (list, tuple):
            if not self._within(depth, len(value)):
                return self._withheld()
            return [self._whole(v, kind, depth + 1) for v in value]
        if type(value) is dict:
            if not self._within(depth, len(value)):
                return self._withheld()
            return {k: self._whole(v, kind, depth + 1) for k, v in value.items()}
        text = str(value)
        if type(value) in (int, float) and sum(c.isdigit() for c in text) < 7 and kind in ("EMAIL", "PHONE", "SSN"):
            return value  # a count or a flag that happens to be named so
        self.count += 1
        return self.redactor.token(kind, text, self.tenant)

    def _hidden(self, value: Any, level: str, depth: int) -> Any:
        """A credential; where only texts can be one, numbers stay."""
        if value is None or type(value) is bool or value == "" or value == SECRET:
            return value
        if level == "text":
            if type(value) in (int, float):
                return value
            if type(value) in (list, tuple) and self._within(depth, len(value)):
                return [self._hidden(v, level, depth + 1) for v in value]
            if type(value) is dict and self._within(depth, len(value)):
                return {k: self._hidden(v, level, depth + 1) for k, v in value.items()}
        self.count += 1
        return SECRET


_PLAIN = frozenset((float, bool, type(None)))
_ROWS = frozenset(("rows", "data", "values", "records"))


def _without_secret(match: re.Match[str]) -> str:
    value = match.group("value")
    if value is None:
        return SECRET
    return match.group()[: match.start("value") - match.start()] + SECRET


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _master_key(path: Path) -> bytes:
    """32 random bytes, made once even when several processes start together.

    Raises:
        Misuse: the file is there and holds something else.
    """
    if not path.exists():
        temporary = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(32))
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, path)
        except FileExistsError:
            pass  # another process was first; its key counts
        finally:
            temporary.unlink()
    key = path.read_bytes()
    if len(key) != 32:
        raise Misuse(
            f"{path} does not hold a key of 32 bytes.",
            hint="Restore it from a copy; without it, old and new tokens do not join.",
        )
    return key
