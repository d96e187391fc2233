"""Taking personal data out of results, and personal data and secrets out of the record.

Three tiers, cheapest first: values under named columns are replaced whole; other texts pass a prefilter; only what the
prefilter finds suspicious is read by Presidio. What is found becomes a typed token such as `<EMAIL:9f86d081>`, keyed
per tenant, so that analysts can still join on it and nobody can look it up.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from workbench.bounded_dict import BoundedDict
from workbench.config import prepare_home
from workbench.events import MisuseError
from workbench.policy.redaction import recognizers, secret_patterns
from workbench.policy.redaction.field_names import PERSONAL, columns
from workbench.policy.redaction.uri_handles import UriHandles
from workbench.policy.redaction.walker import SMALL, WITHHELD, RedactionWalk, may_hold_credentials
from workbench.scanning import ScanBudget
from workbench.secrets import redactors
from workbench.secrets.keyring import KeyRing

_MAX_CACHED = 2048
_MAX_CACHED_LENGTH = 4096


class Redactor:
    """Replaces what may not leave or may not be kept.

    Args:
        home: the state folder; the key of the tokens is made there once, readable by its owner alone.
    """

    def __init__(self, home: Path) -> None:
        self._key = _master_key(prepare_home(home) / "redaction.key")
        self._other_keys = [other.key for other in KeyRing.beside(home / "redaction.key").accepted()]
        """Of before and after a rotation: what was sealed with them is turned back, and nothing new is made."""
        redactors.register(home, self)
        self._recognisers = recognizers.shared()
        self._tenant_keys: dict[str, bytes] = {}
        self._tenant_handles: dict[str, UriHandles] = {}
        self._looked_at: tuple[Any, bool, int] = (object(), True, 0)
        """The result that was let out last, and what was found out about its JSON: it is recorded next."""
        self._leaves: BoundedDict[bytes, tuple[str, int]] = BoundedDict(_MAX_CACHED)
        self._recorded = columns(PERSONAL, True)

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

    def result(
        self, value: Any, names: Iterable[str], tenant: str, *, encoded: bytes | None = None, inline: bool = False
    ) -> tuple[Any, int]:
        """A tool's result as the caller may see it.

        Args:
            value: plain JSON data; it is not changed.
            names: columns to withhold, `Decision.redact`. None of them: the caller sees personal data, nothing changes.
            tenant: whose key the tokens are made with.
            encoded: `value` as JSON, where that is there already.
            inline: whether it runs where nobody else can run meanwhile.

        Returns:
            The value (the same object when nothing was found), and how many values were replaced.

        Raises:
            PostponedError: with `inline`, when there is too much to read.
        """
        return self._withheld(value, names, tenant, "result", encoded, inline)

    def message(self, value: Any, names: Iterable[str], tenant: str, *, inline: bool = False) -> tuple[Any, int]:
        """Like `result`, of what is said around one: errors, notifications, questions, definitions."""
        return self._withheld(value, names, tenant, "message", None, inline)

    def prose(
        self, value: Any, tenant: str, profile: secret_patterns.Profile, *, inline: bool = False
    ) -> tuple[Any, int]:
        """Like `result`, of definitions and questions: what stands in their texts counts, not what their keys are
        called, for those are names of arguments and of fields."""
        hinted, size = may_hold_credentials(value, inline=inline)
        walk = RedactionWalk(self, columns((), False), tenant, profile=profile, hinted=hinted, size=size, inline=inline)
        return walk.value(value), walk.count

    def event(self, value: Any, tenant: str) -> Any:
        """What is recorded about a server: texts as in `record`, keys as they are."""
        if isinstance(value, str):
            return self.record(value, tenant)
        if isinstance(value, dict):
            return {self.event(key, tenant): self.event(item, tenant) for key, item in value.items()}
        return [self.event(item, tenant) for item in value] if isinstance(value, list | tuple) else value

    def doubtful(self, encoded: bytes) -> bool:
        """Whether a JSON document may hold personal data, so that it cannot be shown before `ready`."""
        return recognizers.suspicious(encoded.decode("utf-8", "replace"))

    def wait(self, seconds: float) -> None:
        """Wait until the recognisers are there; not on an event loop."""
        self._recognisers.warm().join(seconds)

    # --- addresses: what stands in their place can be turned back, and is of no use to anybody else

    def address(self, uri: str, tenant: str, budget: ScanBudget | None = None) -> tuple[str, int]:
        """An address of a resource, by which it can still be read: personal data and credentials in it are sealed.

        Returns:
            The address, and how many pieces of it were sealed. The same address of a tenant is sealed the same way.
        """
        if not self._recognisers.ready:
            return self.text(uri, tenant, lenient=False, profile="result", budget=budget)
        spans = secret_patterns.find(uri, "result", budget) if secret_patterns.hinted(uri) else []
        spans += [span[:2] for span in self._recognisers.find(uri, lenient=False, budget=budget)]
        parts: list[str] = []
        at = 0
        for start, end in secret_patterns.merged(sorted(spans)):
            parts += uri[at:start], self._handles(tenant).close(uri[start:end])
            at = end
        return "".join([*parts, uri[at:]]), len(parts) // 2

    def opened(self, uri: str, tenant: str) -> str:
        """The address that `address` was given; any other text stays as it is."""
        return self._handles(tenant).open_all(uri)

    def _handles(self, tenant: str) -> UriHandles:
        found = self._tenant_handles.get(tenant)
        if found is None:
            if len(self._tenant_handles) > 10_000:
                self._tenant_handles.clear()
            found = self._tenant_handles[tenant] = UriHandles(self._key, tenant, self._other_keys)
        return found

    def _withheld(
        self,
        value: Any,
        names: Iterable[str],
        tenant: str,
        profile: secret_patterns.Profile,
        encoded: bytes | None,
        inline: bool,
    ) -> tuple[Any, int]:
        wanted = tuple(names)
        if not wanted:
            return value, 0
        if encoded is None:
            hinted, size = may_hold_credentials(value, inline=inline)
        else:
            hinted, size = secret_patterns.hinted(encoded), len(encoded)
        walk = RedactionWalk(
            self, columns(wanted, False), tenant, profile=profile, hinted=hinted, size=size, inline=inline
        )
        shown = walk.value(value)
        if encoded is not None and size <= SMALL:
            self._looked_at = (shown, hinted, size)
        return shown, walk.count

    def record(self, value: Any, tenant: str, *, inline: bool = False) -> Any:
        """`value` as it may be kept: no personal data, no credentials, rather too little than too much.

        To be applied before anything is queued or written.

        Raises:
            PostponedError: with `inline`, when there is too much to read.
        """
        known, hinted, size = self._looked_at
        if known is not value:
            hinted, size = may_hold_credentials(value, inline=inline)
        walk = RedactionWalk(self, self._recorded, tenant, profile="record", hinted=hinted, size=size, inline=inline)
        return walk.value(value)

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

    def text(
        self,
        text: str,
        tenant: str,
        *,
        lenient: bool,
        profile: secret_patterns.Profile | None = None,
        budget: ScanBudget | None = None,
    ) -> tuple[str, int]:
        """One free text, and how many pieces of it were replaced.

        Args:
            text: any text.
            tenant: whose key the tokens are made with.
            lenient: rather a false alarm than a miss.
            profile: which credentials are taken out; by default those of the record when `lenient`, else none.
            budget: of the pass that the text is part of.

        Raises:
            OverBudgetError: it could not be searched to its end.
            PostponedError: it is too long for where this runs.
        """
        count = 0
        wanted = profile or ("record" if lenient else None)
        if wanted is not None and secret_patterns.hinted(text):
            if budget is not None:
                budget.take(len(text) >> 4)  # which costs so much less than personal data does
            text, count = secret_patterns.without_credentials(text, wanted, budget)
        if not recognizers.suspicious(text, budget):
            return text, count
        if not self._recognisers.ready:
            self._recognisers.warm()
            return WITHHELD, count + 1
        if len(text) > _MAX_CACHED_LENGTH:
            found, n = self._replaced(text, tenant, lenient, budget)
            return found, n + count
        key = hashlib.blake2b(_bytes(f"{int(lenient)}{tenant}\0{text}"), digest_size=16).digest()
        known = self._leaves.get(key)
        if known is None:
            known = self._leaves[key] = self._replaced(text, tenant, lenient, budget)
        return known[0], known[1] + count

    def _replaced(self, text: str, tenant: str, lenient: bool, budget: ScanBudget | None) -> tuple[str, int]:
        spans = self._recognisers.find(text, lenient=lenient, budget=budget)
        if not spans:
            return text, 0
        parts: list[str] = []
        at = 0
        for span in spans:
            parts += text[at : span.start], self.token(span.type, text[span.start : span.end], tenant)
            at = span.end
        parts.append(text[at:])
        return "".join(parts), len(spans)


class _Keyless(Redactor):
    """Takes out the same where nobody is known whose tokens they would be: they only say what was there."""

    def __init__(self) -> None:
        self._recognisers = recognizers.shared()
        self._looked_at = (object(), True, 0)
        self._leaves = BoundedDict(_MAX_CACHED)

    def token(self, kind: str, value: str, tenant: str) -> str:
        return f"<{kind}>"

    def address(self, uri: str, tenant: str, budget: ScanBudget | None = None) -> tuple[str, int]:
        return self.text(uri, tenant, lenient=False, profile="result", budget=budget)


@functools.cache
def _keyless() -> Redactor:
    return _Keyless()


def anonymous(value: Any) -> Any:
    """What is said to somebody who is not known: without personal data and credentials."""
    return _keyless().message(value, PERSONAL, "")[0]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _master_key(path: Path) -> bytes:
    """32 random bytes, made once even when several processes start together.

    Raises:
        MisuseError: the file is there and holds something else.
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
        raise MisuseError(
            f"{path} does not hold a key of 32 bytes.",
            hint="Restore it from a copy; without it, old and new tokens do not join.",
        )
    return key
