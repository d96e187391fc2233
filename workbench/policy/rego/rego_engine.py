"""The embedded Rego engine: a compiled policy, replaced as a whole, asked with checked input from any thread.

Built on regopy (rego-cpp). The engine's known hazards are closed by `guard`: values it would misread never reach it,
and a policy that calls what the engine lacks is refused when it is loaded.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import orjson

from workbench.events import JSON, MisuseError
from workbench.policy.decision_engine import EngineError
from workbench.policy.rego import rego_guard
from workbench.policy.rego.native_library import regopy
from workbench.policy.rego.rego_input import rego_input

TOOL_SCOPES = "workbench/tool_scopes/decision"
TENANT_QUOTA = "workbench/tenant_quota/decision"
APPROVERS = "workbench/approvers/decision"
BUDGETS = "workbench/budgets/decision"
ENTRYPOINTS = (TOOL_SCOPES, TENANT_QUOTA, APPROVERS, BUDGETS)
NAME = "embedded-rego"
REGO_TESTS = "_test.rego"
CASES = ".cases.json"

PROBES: dict[str, JSON] = {
    TOOL_SCOPES: {
        "caller": {"tenant": "t", "subject": "s", "roles": [], "scopes": [], "method": "key"},
        "tool": {
            "qualified": "a.b",
            "scopes": [{"name": "a:read", "forms": ["a:read", "a:*", "*"]}],
            "read_only": True,
            "destructive": False,
            "quarantined": False,
        },
    },
    TENANT_QUOTA: {"tenant": "t", "tool": "a.b", "used": 0},
    APPROVERS: {"tenant": "t", "subject": "s", "server": "a", "tool": "a.b"},
    BUDGETS: {"tenant": "t", "subject": "s", "roles": []},
}
"""One input per entry point: a policy that cannot answer it is refused when it is loaded."""

_ANSWERS: dict[str, dict[str, type[Any]]] = {
    TOOL_SCOPES: {
        "allow": bool,
        "rule": str,
        "missing": list,
        "approval": bool,
        "redact": list,
        "redact_declared": bool,
        "caps": dict,
    },
    TENANT_QUOTA: {"allow": bool, "rule": str, "per_minute": int},
    APPROVERS: {"approvers": int, "roles": list},
    BUDGETS: {"tokens_per_day": int, "cents_per_day": int, "tokens_per_run": int, "cents_per_run": int},
}


class BrokenPolicyError(EngineError):
    """The rules gave no answer that may be trusted. Always a denial, never an excuse."""


class PolicyFiles:
    """The files of a policy: the shipped ones, each replaced by the file of the same name in `folder`, and its others.

    Args:
        folder: Rego files and `data.json`; None takes what is shipped.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    @property
    def where(self) -> str:
        """The folder, for messages."""
        return str(self.folder) if self.folder else "the package"

    def fingerprint(self) -> tuple[tuple[str, int, int], ...]:
        """Names, times and sizes of the files in the folder: equal while nothing was changed."""
        if self.folder is None:
            return ()
        return tuple((p.name, p.stat().st_mtime_ns, p.stat().st_size) for p in self._own())

    def read(self) -> dict[str, bytes]:
        """Name → content.

        Raises:
            MisuseError: the folder does not exist or a file cannot be read.
        """
        return {n: c for n, c in self._read().items() if not n.endswith((REGO_TESTS, CASES))}

    def read_tests(self, ending: str) -> dict[str, bytes]:
        """Name → content of the tests beside the rules: those that end in `REGO_TESTS` or in `CASES`.

        Raises:
            MisuseError: the folder does not exist or a file cannot be read.
        """
        return {n: c for n, c in self._read().items() if n.endswith(ending)}

    def _read(self) -> dict[str, bytes]:
        shipped = resources.files(__package__)
        found = {p.name: p.read_bytes() for p in shipped.iterdir() if p.name.endswith((".rego", ".json"))}
        try:
            found.update((p.name, p.read_bytes()) for p in self._own())
        except OSError as e:
            raise MisuseError(f"The policy in {self.where} cannot be read: {e}.", hint="Check setting policy.") from e
        return dict(sorted(found.items()))

    def _own(self) -> list[Path]:
        if self.folder is None:
            return []
        try:
            return sorted(p for p in self.folder.iterdir() if p.suffix in (".rego", ".json") and p.is_file())
        except OSError as e:
            raise MisuseError(
                f"The policy folder {self.folder} cannot be read: {e}.", hint="Check setting policy."
            ) from e


class RegoPolicy:
    """One compiled revision of the rules; immutable, shared by all threads.

    Raises:
        MisuseError: a file is no Rego or JSON, calls a function that does not exist, or does not answer as it must.
    """

    def __init__(self, files: Mapping[str, bytes], where: str) -> None:
        self.revision = revision_of(files)
        self.data = _merged_data(files, where)
        interpreter = _interpreter()
        modules = []
        for name, content in files.items():
            if not name.endswith(".rego"):
                continue
            try:
                source = content.decode()
                interpreter.add_module(name, source)
            except (UnicodeDecodeError, regopy.RegoError) as e:
                raise MisuseError(
                    f"{name} in {where} is no valid Rego: {_first_error(e)}.", hint="Mend the file."
                ) from e
            modules.append(rego_guard.read_module(name, source))
        rego_guard.refuse(rego_guard.lint(modules, interpreter.is_builtin), where)
        try:
            interpreter.add_data(self.data)
            self._bundle = interpreter.build(None, list(ENTRYPOINTS))
            compiled = self._bundle.ok()
        except regopy.RegoError as e:
            raise MisuseError(
                f"The policy in {where} does not compile: {_first_error(e)}.", hint="Mend the file."
            ) from e
        if not compiled:
            raise MisuseError(f"The policy in {where} does not compile.", hint="Check it with `opa check`.")
        for entrypoint in ENTRYPOINTS:
            try:
                self.ask(entrypoint, PROBES[entrypoint])
            except BrokenPolicyError as e:
                name = entrypoint.replace("/", ".")
                raise MisuseError(
                    f"The policy in {where} has no usable rule {name}: {e}.", hint="Mend the file."
                ) from e

    def ask(self, entrypoint: str, document: JSON) -> JSON:
        """The decision document for one input.

        Args:
            entrypoint: one of `ENTRYPOINTS`.
            document: the closed input; every field is present.

        Raises:
            Broken: no answer, or one that is not exactly of the agreed form.
        """
        try:
            rego_guard.checked(document)
            interpreter = _of_this_thread()
            interpreter.set_input(rego_input(document))
            output = interpreter.query_bundle_entrypoint(self._bundle, entrypoint)
            if not output.ok():
                raise BrokenPolicyError(_first_error(str(output)))
            expressions = output.results[0].expressions if output.results else []
        except json.JSONDecodeError as e:
            raise BrokenPolicyError(
                "it ends in an error: recursion, two values at once, or a text that it cannot write"
            ) from e
        except (rego_guard.UnsuitableValueError, regopy.RegoError, ValueError) as e:
            raise BrokenPolicyError(_first_error(e)) from e
        if len(expressions) != 1:
            raise BrokenPolicyError("the decision is undefined")
        return as_agreed(entrypoint, expressions[0])


def revision_of(files: Mapping[str, bytes]) -> str:
    """Twelve hex digits of the SHA-256 over names and contents."""
    whole = hashlib.sha256()
    for name, content in files.items():
        whole.update(f"{name}\0{len(content)}\0".encode() + content)
    return whole.hexdigest()[:12]


def _merged_data(files: Mapping[str, bytes], where: str) -> JSON:
    merged: JSON = {}
    for name, content in files.items():
        if not name.endswith(".json"):
            continue
        try:
            document = orjson.loads(content)
            rego_guard.checked(document)
        except ValueError as e:
            raise MisuseError(f"{name} in {where} is no usable JSON: {e}.", hint="Mend the file.") from e
        if not isinstance(document, dict):
            raise MisuseError(f"{name} in {where} holds no object.", hint='Expected {"workbench": {...}}.')
        _merge(merged, document, name, where)
    return merged


def _merge(into: JSON, document: JSON, name: str, where: str) -> None:
    for key, value in document.items():
        if key not in into:
            into[key] = value
        elif isinstance(into[key], dict) and isinstance(value, dict):
            _merge(into[key], value, name, where)
        else:
            raise MisuseError(f"{name} in {where} sets {key!r}, which another file sets too.", hint="Keep one of them.")


def as_agreed(entrypoint: str, answer: Any) -> JSON:
    """`answer` when it has exactly the agreed fields and types; a decision that is almost right is none."""
    agreed = _ANSWERS[entrypoint]
    if type(answer) is not dict or answer.keys() != agreed.keys():
        raise BrokenPolicyError("the decision does not have exactly the agreed fields")
    for name, kind in agreed.items():
        value = answer[name]
        if type(value) is not kind or (kind is int and value < 0):
            raise BrokenPolicyError(f"field {name} of the decision is no {kind.__name__}")
    return answer


_local = threading.local()


def _of_this_thread() -> regopy.Interpreter:
    interpreter = getattr(_local, "interpreter", None)
    if interpreter is None:
        interpreter = _local.interpreter = _interpreter()
    return interpreter


def _interpreter() -> regopy.Interpreter:
    interpreter = regopy.Interpreter()
    # per interpreter: setting the default level a second time in a process aborts it
    interpreter.log_level = regopy.LogLevel.NONE
    return interpreter


def _first_error(error: object) -> str:
    """The engine's own words, without its syntax tree."""
    lines = [line.strip() for line in str(error).splitlines() if "errormsg" in line] or [str(error).strip()]
    text = lines[0].partition("errormsg")[2] or lines[0]
    return text.partition(":")[2].rstrip(") ") if "errormsg" in lines[0] else text[:200]
