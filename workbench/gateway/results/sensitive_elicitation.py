"""Forms in which a server asks for a password or a key: they do not reach anybody.

"Servers MUST NOT use form mode elicitation to request sensitive information such as passwords, API keys, access tokens,
or payment credentials" (client/elicitation of 2025-11-25 and 2026-07-28): what is typed there passes client, model and
gateway. A server that needs such a thing sends the user to a page of its own, by URL mode.
"""

from __future__ import annotations

import re
from typing import Any, Final

from workbench.events import JSON

MAX_FIELDS: Final = 1_000

_SENSITIVE: Final = re.compile(
    r"\b(?:pass ?words?|pass ?wd|pwd|pass ?phrases?|pass ?codes?|api ?keys?|secret(?: (?:access )?keys?)?"
    r"|client secrets?"
    r"|(?:access|refresh|auth|bearer|session|id|personal access) ?tokens?|private keys?|credentials?"
    r"|(?:credit |debit |bank )?card (?:number|no)|cvv2?|cvc2?|card security code|seed phrase|recovery (?:phrase|code)"
    r"|one time (?:code|password|passcode)|otp|pin code|social security number|ssn)\b"
)
_BEFORE_CAPITAL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def sensitive_field(question: Any) -> str:
    """The first field of a form that asks for a secret, as it is called there; empty where none does.

    Args:
        question: a request of a server, with `method` and `params`.
    """
    params = question.get("params") if isinstance(question, dict) else None
    if not isinstance(params, dict) or question.get("method") != "elicitation/create" or params.get("mode") == "url":
        return ""
    schema = params.get("requestedSchema")
    fields = schema.get("properties") if isinstance(schema, dict) else None
    for name, field in list(fields.items())[:MAX_FIELDS] if isinstance(fields, dict) else ():
        about = field if isinstance(field, dict) else {}
        if about.get("type") in ("boolean", "object", "array"):
            continue
        title = about.get("title")
        if about.get("format") == "password" or any(
            _SENSITIVE.search(_spoken(text)) for text in (name, title) if isinstance(text, str)
        ):
            return str(name)[:100]
    return ""


def sensitive_questions(result: JSON) -> str:
    """The like of what a server wants to know before it answers (`input_required`)."""
    questions = result.get("inputRequests")
    if not isinstance(questions, dict):
        return ""
    return next((found for each in questions.values() if (found := sensitive_field(each))), "")


def refusal_of(field: str) -> str:
    """What server and caller are told."""
    return (
        f"The server asks for {field!r} in a form. Passwords, keys and payment data must not be asked for so; the "
        "server has to send the user to a page of its own (URL mode elicitation). Nobody was asked."
    )


def _spoken(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", " ", _BEFORE_CAPITAL.sub(" ", name[:200]).lower())
