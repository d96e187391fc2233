"""How an approval looks in Slack: a card with two buttons, and the same card once it is decided.

Everything that comes from a call is `plain_text`: no markup, no link and no mention can be smuggled into it. Arguments
are shown as they are recorded, without personal data and secrets, because Slack is somebody else's machine.
"""

from __future__ import annotations

import json
import time
from typing import Any

from workbench.events import JSON
from workbench.policy.approvals.approval import Approval

APPROVE = "workbench_approve"
DENY = "workbench_deny"
MAX_CARD_LENGTH = 2900
"""Characters of one text block; Slack takes 3,000."""


def card(approval: Approval) -> list[JSON]:
    """The blocks of the card (Block Kit), with buttons while the approval is pending."""
    blocks: list[JSON] = [
        {"type": "header", "text": _plain("A tool call waits for a human"[:150])},
        _section(f"Tool: {approval.tool}\nAsked by: {approval.subject} ({approval.tenant}), through {approval.source}"),
        _section(f"Arguments: {_json(approval.arguments)}"),
        *([_section(f"Beside them: {_json(approval.params)}")] if approval.params else []),
        {"type": "context", "elements": [_plain(f"{approval.id} · arguments SHA-256 {approval.args_hash}")]},
    ]
    if approval.status == "pending":
        blocks.append(_buttons(approval))
    else:
        blocks.append(_section(outcome(approval)))
    return blocks


def _json(value: JSON) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)


def outcome(approval: Approval) -> str:
    """How it ended, in one line."""
    if approval.status in ("approved", "denied", "used"):
        word = "Denied" if approval.status == "denied" else "Approved"
        note = f": {approval.note}" if approval.note else ""
        return f"{word} by {approval.decided_by} via {approval.decided_via or 'nothing named'}{note}"
    return "Nobody decided in time." if not approval.decided_by else "Approved, but not used in time."


def fallback(approval: Approval) -> str:
    """The text of a notification; nothing of it is the caller's choice but names that the platform gave."""
    return f"Approval {approval.id}: {approval.status}"


def _buttons(approval: Approval) -> JSON:
    until = time.strftime("%H:%M UTC", time.gmtime(approval.expires_us / 1_000_000))
    return {
        "type": "actions",
        "block_id": "workbench_approval",
        "elements": [
            _button(APPROVE, "Approve", "primary", approval, f"Run exactly this call, once, until 15 minutes from now? "
                    f"It can be decided until {until}."),
            _button(DENY, "Deny", "danger", approval, "Refuse this call?"),
        ],
    }  # fmt: skip


def _button(action: str, text: str, style: str, approval: Approval, question: str) -> JSON:
    return {
        "type": "button",
        "action_id": action,
        "value": approval.id,
        "style": style,
        "text": _plain(text),
        "confirm": {
            "title": _plain("Are you sure?"),
            "text": _plain(question),
            "confirm": _plain(text),
            "deny": _plain("Back"),
        },
    }


def _section(text: str) -> JSON:
    return {"type": "section", "text": _plain(text)}


def _plain(text: str) -> JSON:
    shown: Any = text if len(text) <= MAX_CARD_LENGTH else text[:MAX_CARD_LENGTH] + "… (cut)"
    return {"type": "plain_text", "text": shown, "emoji": False}
