"""The record: written before anything is answered, tamper-evident, and plain SQL.

`AuditLog` writes; `Reader` queries; `verify` proves that nothing was altered; `records` builds what is stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.audit.query.reader import QueryStoppedError, Reader
    from workbench.audit.query.saved_questions import SavedQuestion, questions
    from workbench.audit.verification.findings import Finding, Verification
    from workbench.audit.verification.verifier import verify
    from workbench.audit.write.log import AuditLog

_HOMES = {
    "AuditLog": "write.log",
    "Finding": "verification.findings",
    "SavedQuestion": "query.saved_questions",
    "QueryStoppedError": "query.reader",
    "Reader": "query.reader",
    "Verification": "verification.findings",
    "questions": "query.saved_questions",
    "verify": "verification.verifier",
}

__all__ = ["AuditLog", "Finding", "QueryStoppedError", "Reader", "SavedQuestion", "Verification", "questions", "verify"]


def __getattr__(name: str) -> Any:
    # DuckDB, Arrow and cryptography take long to import; whoever only builds records must not pay for them.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"workbench.audit.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'workbench.audit' has no attribute {name!r}")
