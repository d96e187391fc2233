"""Signs that a text talks to a model instead of describing something: "tool poisoning" and injected instructions.

A sign in a result is recorded and shown; a tool whose definition shows one is quarantined until a person has looked at
it (`objection`). The absence of signs proves nothing: whoever knows the list writes around it. What limits the harm of
an injection is scopes, approvals and the record.
(OWASP MCP Top 10, MCP03 "Tool Poisoning" and MCP06 "Intent Flow Subversion".)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from workbench.display_text import hidden_character
from workbench.events import JSON, Record, Tool
from workbench.json_values import MAX_DEFINITION_DEPTH
from workbench.scanning import ScanBudget, first

MAX_BYTES = 256 << 10
"""How much of one text is looked at."""
_EXCERPT = 160
_HIDDEN_PIECE = 8 << 10
_PIECE = 1 << 10
"""Characters that a pattern searches at once; none of them spans as many."""

_GAP = r"(?:\s|\\n|\\t|[\"'*_`,:]){1,8}"
_PATTERNS = {
    "overrides_instructions": re.compile(
        rf"\b(?:ignore|disregard|forget|override|bypass)\b[^.]{{0,40}}?\b(?:previous|prior|above|earlier|preceding|all"
        rf"|any|other|your|system|these|those){_GAP}(?:\w{{1,30}}{_GAP}){{0,2}}?(?:instructions?|prompts?|guidelines?|directives?"
        rf"|rules)\b"
    ),
    "asks_for_secrecy": re.compile(
        r"\b(?:do not|don't|never|must not|without)\s{1,3}(?:ever\s{1,3})?(?:tell|telling|inform|informing|mention"
        r"|mentioning|notify|notifying|alert(?:ing)?|reveal(?:ing)?)\b[^.\n]{0,40}?"
        r"\b(?:the user|the human|users|anyone|anybody)\b"
    ),
    "speaks_as_the_system": re.compile(
        r"<\s{0,2}/?\s{0,2}(?:important|system|system_prompt|instructions?|secret|hidden|admin)\s{0,2}>"
        r"|<\|im_(?:start|end)\|>|\[/?(?:system|inst)\]|\byou are now (?:a|an|the|in)\b"
        r"|\bnew (?:system )?(?:instructions?|prompt)\s{0,3}:"
    ),
    "asks_for_credentials": re.compile(
        r"\b(?:read|open|cat|load|send|include|pass|attach|copy|provide|forward|upload|extract)\b[^.\n]{0,60}?"
        r"(?:~?/?\.ssh/(?!config\b|known_hosts\b|authorized_keys\b)"
        r"|\bid_(?:rsa|ed25519)\b|/etc/(?:passwd|shadow)|\.aws/credentials|\bprivate keys?\b"
        r"|\bsystem prompt\b|\bconversation history\b|\bchat history\b|~/\.cursor/|\bmcp\.json\b)"
    ),
    "steers_other_tools": re.compile(
        r"\b(?:before|instead of|prior to) (?:using|calling|invoking|running) any (?:other )?(?:tools?|functions?)\b"
        r"|\b(?:always|must)\b[^.\n]{0,30}?\b(?:bcc|cc|forward|copy|send)\b[^.\n]{0,60}?[\w.+-]{1,64}+@[\w-]{1,64}+\.\w"
    ),
    "sends_elsewhere": re.compile(
        r"\b(?:sends?|forwards?|posts?|appends?|appended|uploads?|copy|copies|transmits?|reports?|leaks?|exfiltrates?|submits?)\b"
        r"[^.\n]{0,160}? (?:to|at) [\"'`<(]?(?:https?://|//)[\w.-]"
    ),
}
_WORDS = {
    "overrides_instructions": ("instruction", "prompt", "guideline", "directive", "rules"),
    "asks_for_secrecy": ("the user", "the human", " users", "anyone", "anybody"),
    "speaks_as_the_system": (
        "important", "system", "instructions", "secret>", "hidden>", "admin>", "<|im_", "inst]", "you are now",
        "prompt:",
    ),
    "asks_for_credentials": (
        ".ssh", "id_rsa", "id_ed25519", "/etc/", ".aws/", "private key", "prompt", " history", ".cursor", "mcp.json",
    ),
    "steers_other_tools": (" any ", "bcc", "forward", "always", "must"),
    "sends_elsewhere": tuple(
        f" {word} {quote}{scheme}"
        for word in ("to", "at") for quote in ("", '"', "'", "`", "<", "(") for scheme in ("http", "//")
    ),
}  # fmt: skip
"""A text without any of these words has no sign of that kind; looking for words is far cheaper than for patterns."""

_SAID = {
    "overrides_instructions": "tells a model to ignore its instructions",
    "asks_for_secrecy": "tells a model to keep something from people",
    "speaks_as_the_system": "is written as if it came from the system",
    "asks_for_credentials": "tells a model to hand over keys, files or the conversation",
    "steers_other_tools": "tells a model what to do when it uses other tools",
    "sends_elsewhere": "tells a model to send something to an address",
}


class Signal(Record, frozen=True, kw_only=True):
    """One sign in one text."""

    kind: str
    where: str
    """`description`, a path into the schema, or `result`."""
    excerpt: str
    """The words, as they stand there."""


def of_text(text: str, where: str) -> list[Signal]:
    """The signs in one text, at most one of each kind."""
    text = text[:MAX_BYTES]
    found = []
    if not text.isascii() and (hidden := _hidden(text)):
        found.append(Signal(kind="hidden_characters", where=where, excerpt=hidden))
    folded = text.lower()
    kinds = _kinds(folded)
    budget = ScanBudget() if kinds else None
    for kind in kinds:
        if match := first(_PATTERNS[kind], folded, budget, piece=_PIECE):
            excerpt = text[match.start() : match.end()] if len(folded) == len(text) else match.group()
            found.append(Signal(kind=kind, where=where, excerpt=excerpt[:_EXCERPT]))
    return found


def _hidden(text: str) -> str:
    pieces = (text[at : at + _HIDDEN_PIECE] for at in range(0, len(text), _HIDDEN_PIECE))
    return next((hidden for piece in pieces if (hidden := hidden_character(piece))), "")


def plain(encoded: bytes) -> bool:
    """Whether a result has no word of any sign, so that `of_result` has next to nothing to do."""
    folded = encoded[:MAX_BYTES].lower()
    return folded.isascii() and not _kinds(folded.decode())


def _kinds(folded: str) -> list[str]:
    """The kinds of signs that a text in lower case has a word of."""
    found = []
    addressed = "//" in folded or "http" in folded
    for kind, words in _WORDS.items():
        if kind == "sends_elsewhere" and not addressed:
            continue  # all its words have one of the two
        for word in words:  # a generator would double the cost, and this runs on every result
            if word in folded:
                found.append(kind)
                break
    return found


def of_definition(definition: JSON) -> list[Signal]:
    """The signs in everything of a tool's definition that a model reads."""
    return [signal for where, text in _texts(definition) for signal in of_text(text, where)]


def objection(definition: JSON) -> str:
    """Why a person should read a definition before its tool is called, in a sentence; empty when nothing stands out.

    A single hidden character is no reason: it is written out where it is shown, and what hides text on purpose has an
    objection of its own (`definition_texts.concealment`).
    """
    for sign in of_definition(definition):
        if sign.kind != "hidden_characters":
            return f"Its {sign.where} {_SAID[sign.kind]}: {sign.excerpt!r}."
    return ""


def of_tools(tools: Iterable[Tool]) -> dict[str, list[JSON]]:
    """Name → signs, of those tools that show any."""
    found = {tool.name: [s.to_dict() for s in of_definition(tool.definition)] for tool in tools}
    return {name: signals for name, signals in found.items() if signals}


def of_result(encoded: bytes) -> list[Signal]:
    """The signs in a result.

    Args:
        encoded: the result as JSON, in UTF-8.
    """
    text = encoded[:MAX_BYTES]
    for escape in (b"\\n", b"\\t", b"\\r"):
        text = text.replace(escape, b" ")
    return of_text(text.decode("utf-8", "replace"), "result")


def _texts(value: Any, where: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield where or "definition", value
    elif depth < MAX_DEFINITION_DEPTH and isinstance(value, dict):
        for key, item in value.items():
            if key not in ("pattern", "$schema", "$ref", "$id", "_meta", "icons"):
                yield from _texts(item, f"{where}.{key}" if where else str(key), depth + 1)
    elif depth < MAX_DEFINITION_DEPTH and isinstance(value, list):
        for at, item in enumerate(value):
            yield from _texts(item, f"{where}[{at}]", depth + 1)
