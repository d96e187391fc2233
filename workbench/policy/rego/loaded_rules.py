"""The rule files in force: compiled, and replaced as a whole when a file changes and the new ones load."""

from __future__ import annotations

import threading
import weakref
from pathlib import Path

from workbench.events import JSON, MisuseError
from workbench.policy.redaction.field_names import PERSONAL
from workbench.policy.rego import rego_engine

_MAX_QUOTAS = 8192
_WATCH_INTERVAL_S = 1.0


class _Revision:
    """One revision of the rules with the quotas that it has given."""

    def __init__(self, rego: rego_engine.RegoPolicy, fingerprint: object) -> None:
        self.rego = rego
        self.fingerprint = fingerprint
        self.quotas: dict[tuple[str, str], int] = {}


class LoadedRules:
    """The rules and data in force.

    Args:
        folder: files that replace the shipped ones of the same name; None takes what is shipped. It is watched.

    Raises:
        MisuseError: the rules do not load. There are no older ones to fall back to.
    """

    def __init__(self, folder: Path | None) -> None:
        self._files = rego_engine.PolicyFiles(folder)
        self._revision = self._load()
        self.current = self._revision.rego
        """The compiled rules in force; another object after every change."""
        self._reloading = threading.Lock()
        self.problem = ""
        """Why the files as they are now are not in force; empty when they are."""
        self._closed = threading.Event()
        if folder is not None:
            threading.Thread(
                target=_watch, args=(weakref.ref(self), self._closed), name="policy-watch", daemon=True
            ).start()

    @property
    def revision(self) -> str:
        """Hash of the rules and data in force."""
        return self._revision.rego.revision

    @property
    def data(self) -> JSON:
        """What the JSON files hold under `workbench`; do not change it."""
        section = self._revision.rego.data.get("workbench", {})
        return section if isinstance(section, dict) else {}

    @property
    def withheld(self) -> tuple[str, ...]:
        """The columns that the data withhold from those who may not see personal data."""
        names = self.data.get("pii", {}).get("columns")
        return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) and names else PERSONAL

    def ask(self, entrypoint: str, document: JSON) -> JSON:
        """The answer of a rule; see `RegoPolicy.ask`."""
        return self._revision.rego.ask(entrypoint, document)

    def quota(self, tenant: str, tool: str) -> int:
        """Calls per minute that `tenant` may make to the tool of this qualified name; 0 means no quota.

        Raises:
            BrokenPolicyError: the rules give no answer.
        """
        current = self._revision
        found = current.quotas.get((tenant, tool))
        if found is None:
            answer = current.rego.ask(rego_engine.TENANT_QUOTA, {"tenant": tenant, "tool": tool, "used": 0})
            if len(current.quotas) >= _MAX_QUOTAS:
                current.quotas.clear()
            found = current.quotas[tenant, tool] = answer["per_minute"]
        return found

    def reload(self) -> None:
        """Put the files as they are now in force, all at once.

        Raises:
            MisuseError: they do not load. The rules before stay in force and `problem` says why.
        """
        with self._reloading:
            try:
                self._revision = self._load()
                self.current = self._revision.rego
            except MisuseError as e:
                self.problem = f"The changed policy is not in force, revision {self.revision} still is. {e}"
                raise
            self.problem = ""

    def close(self) -> None:
        """Stop watching the files."""
        self._closed.set()

    def _load(self) -> _Revision:
        fingerprint = self._files.fingerprint()
        return _Revision(rego_engine.RegoPolicy(self._files.read(), self._files.where), fingerprint)


def _watch(rules: weakref.ref[LoadedRules], closed: threading.Event) -> None:
    """Reload when a file changed; ends with the rules. Off the path of calls, once a second."""
    tried: object = None
    while not closed.wait(_WATCH_INTERVAL_S):
        current = rules()
        if current is None:
            return
        try:
            seen = current._files.fingerprint()
            if seen == current._revision.fingerprint:
                current.problem = ""
            elif seen != tried:
                tried = seen
                current.reload()
        except (MisuseError, OSError) as e:
            current.problem = current.problem or f"Revision {current.revision} stays in force. {e}"
        del current
