"""One approval: what it is bound to, and who may decide it."""

from __future__ import annotations

from typing import Literal

import msgspec

from workbench.events import JSON, Call, Caller, MisuseError, Record, Tool, digest
from workbench.json_values import portable
from workbench.policy.approvals.bound_params import UnbindableError, bound_params, params_hash

HUMAN_DOORS = ("app", "cli", "page")
"""Where somebody may approve their own call: a person sits there, and no tool call arrives through them unattended.
The page is the one that MCP clients send their users to; it asks for a key."""

Status = Literal["pending", "approved", "denied", "expired", "used"]


class Vote(Record, frozen=True, kw_only=True):
    """One person's yes."""

    by: str
    via: str
    """The door."""
    us: int
    note: str = ""


class ApprovalRequirement(Record, frozen=True, kw_only=True):
    """Whose yes a call needs, as the rules say."""

    approvers: int = 1
    """So many different people; with more than one, whoever asked is none of them."""
    roles: tuple[str, ...] = ()
    """Each of them has one of these roles; empty: whoever may decide approvals."""


class Approval(Record, frozen=True, kw_only=True):
    """One request for a human's yes, as it stands. `to_dict()` is what the record keeps."""

    id: str
    tenant: str
    subject: str
    """Who wants to call."""
    tool: str
    args_hash: str
    definition_hash: str
    arguments: JSON
    """As they may be recorded: without personal data and secrets."""
    source: str
    """The door of the call."""
    call: str
    run: str
    status: Status
    created_us: int
    expires_us: int
    """Until when it can be decided, or, once approved, used."""
    decided_by: str = ""
    """Everybody whose yes counted, or who said no."""
    decided_via: str = ""
    """The door of the decision: app, cli…"""
    decided_us: int = 0
    note: str = ""
    used_us: int = 0
    approvers: int = 1
    """How many different people have to say yes."""
    roles: tuple[str, ...] = ()
    """Who decides has one of these roles; empty: any."""
    votes: tuple[Vote, ...] = ()
    """Who has said yes so far, to these arguments."""
    asked_hash: str = ""
    """Hash of the arguments that were asked for, where somebody who decides has changed them; then `args_hash` is of
    the changed ones, which are what runs."""
    edited_by: str = ""
    """Who changed them."""
    params: JSON = msgspec.field(default_factory=dict)
    """What reaches the tool beside its arguments (`_meta`, task parameters…), as it may be recorded."""
    params_hash: str = ""
    """Hash of that; empty when there is nothing."""


class ApprovalRefusedError(MisuseError):
    """This decision may not be made: by this person, at this door, or any more."""

    error_kind = "Refused"


def check_decider(approval: Approval, by: Caller | str, via: str) -> None:
    """Raises Refused when `by` may not decide `approval` at the door `via`: scope, four eyes, a door with a person."""
    name = by if isinstance(by, str) else by.subject
    if not name:
        raise ApprovalRefusedError("An approval needs to be decided by somebody.", hint="Name the person who decides.")
    if isinstance(by, Caller) and not by.has("approvals:decide"):
        raise ApprovalRefusedError(f"{name} may not decide approvals.", hint="The scope approvals:decide is needed.")
    if approval.roles and not (isinstance(by, Caller) and set(by.roles) & set(approval.roles)):
        raise ApprovalRefusedError(
            f"{name} may not decide calls of {approval.tool}.",
            hint=f"Who decides them has the role {' or '.join(approval.roles)}.",
        )
    if name != approval.subject:
        return
    if approval.approvers > 1:
        raise ApprovalRefusedError(
            f"{name} made this call and is none of the {approval.approvers} people it needs.",
            hint="Somebody else has to.",
        )
    if not (isinstance(by, Caller) and by.has("approvals:self")):
        raise ApprovalRefusedError(f"{name} made this call and may not decide it.", hint="Somebody else has to.")
    if via not in HUMAN_DOORS:
        raise ApprovalRefusedError(
            f"One's own call is decided at the app or the command line, not via {via or 'nothing'!r}.",
            hint="Open the approvals in the app, or decide on the command line.",
        )


class ApprovalBinding(Record, frozen=True, kw_only=True):
    """What an approval is bound to, as hashes."""

    arguments: str
    definition: str
    params: str
    whole: str
    """Of all of it, with tenant, caller and tool."""


def bind(call: Call, tool: Tool) -> ApprovalBinding:
    """Everything that an approval of this call is bound to.

    Raises:
        MisuseError: it cannot be bound to an approval; says why.
    """
    try:
        args_hash = digest(portable(call.arguments))
        of_params = params_hash(bound_params(call))
        definition_hash = tool.definition_hash or digest(tool.to_dict())
    except UnbindableError as e:
        raise MisuseError(f"{call.tool} cannot be approved: {e}.", hint="Send less beside the arguments.") from e
    except (TypeError, ValueError) as e:
        raise MisuseError(
            f"The arguments of {call.tool} cannot be bound to an approval: {e}.", hint="Send plain JSON."
        ) from e
    caller = call.caller
    whole = binding(caller.tenant, caller.subject, tool.qualified, args_hash, definition_hash, of_params)
    return ApprovalBinding(arguments=args_hash, definition=definition_hash, params=of_params, whole=whole)


def binding(tenant: str, subject: str, tool: str, args_hash: str, definition_hash: str, params: str) -> str:
    """The hash of everything that an approval is bound to; without `params` as it was before they were part of it."""
    return digest([tenant, subject, tool, args_hash, definition_hash, *([params] if params else [])])
