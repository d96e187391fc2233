"""A yes to a waiting call: how many there are, to which arguments, and what becomes of the approval."""

from __future__ import annotations

from typing import NamedTuple

from workbench.events import JSON, Caller, MisuseError, digest
from workbench.json_values import portable
from workbench.policy.approvals.approval import Approval, ApprovalRefusedError, Vote, binding


class QuorumResult(NamedTuple):
    """An approval after one more yes."""

    status: str
    """`approved` when that was the last one it needed, else still `pending`."""
    votes: tuple[Vote, ...]
    args_hash: str
    bound: str
    """What it is bound to from now on."""
    arguments: JSON | None
    """The changed arguments; None where they stay as they are."""


def agreed(approval: Approval, by: Caller | str, vote: Vote, arguments: JSON | None, seen: str) -> QuorumResult:
    """What a yes of `by` makes of `approval`.

    Args:
        approval: as it stands.
        by: who says yes.
        vote: their yes.
        arguments: what shall run instead of what was asked for; None leaves it. Whoever said yes to something else
            before is not counted any more.
        seen: hash of the arguments that they looked at; needed where somebody else has changed them meanwhile.

    Raises:
        ApprovalRefusedError: they have said yes already; the arguments are not those they looked at; they may not
            change them.
        MisuseError: the changed arguments are no plain JSON.
    """
    if seen and seen != approval.args_hash:
        raise ApprovalRefusedError("The arguments are not those that you looked at.", hint="Look at them again.")
    if approval.edited_by and approval.edited_by != vote.by and not seen and arguments is None:
        raise ApprovalRefusedError(
            f"{approval.edited_by} has changed the arguments.",
            hint=f"Look at them, and say which you mean: their hash is {approval.args_hash}.",
        )
    args_hash, votes = approval.args_hash, approval.votes
    if arguments is not None:
        if not isinstance(by, Caller) or not by.has("pii:read"):
            raise ApprovalRefusedError(
                f"{vote.by} sees the arguments without personal data and may not change them.",
                hint="The scope pii:read is needed.",
            )
        try:
            args_hash = digest(portable(arguments))
        except (TypeError, ValueError) as e:
            raise MisuseError(f"The changed arguments are no plain JSON: {e}.", hint="Send one JSON object.") from e
    if args_hash != approval.args_hash:
        votes = ()
    elif any(vote.by == earlier.by for earlier in votes):
        raise ApprovalRefusedError(f"{vote.by} has said yes already.", hint="Somebody else has to, too.")
    votes = (*votes, vote)
    return QuorumResult(
        "approved" if len(votes) >= approval.approvers else "pending",
        votes,
        args_hash,
        binding(
            *(approval.tenant, approval.subject, approval.tool, args_hash, approval.definition_hash),
            approval.params_hash,
        ),
        arguments if args_hash != approval.args_hash else None,
    )
