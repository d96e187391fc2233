"""Secrets by reference: where they are read from, how long they are believed, and that they are never shown."""

from workbench.secrets.masking import (
    hide,
    hide_bytes,
    hide_in_logs,
    hide_in_pieces,
    is_telling,
    remember,
    remember_all,
    remember_named,
)
from workbench.secrets.reference import SecretReference, is_reference, references
from workbench.secrets.secret_resolver import SecretOrigin, SecretResolver
from workbench.secrets.sources import SecretNotFoundError

__all__ = [
    "SecretNotFoundError",
    "SecretOrigin",
    "SecretReference",
    "SecretResolver",
    "hide",
    "hide_bytes",
    "hide_in_logs",
    "hide_in_pieces",
    "is_reference",
    "is_telling",
    "references",
    "remember",
    "remember_all",
    "remember_named",
]
