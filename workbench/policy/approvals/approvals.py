"""A human's yes to exactly one call: bound to tenant, caller, tool, arguments and definition, short-lived, used once.

States: pending → approved | denied | expired; approved → used | expired. Every edge is one conditional UPDATE in the
control database, so that of any number of threads and processes exactly one wins.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import orjson

from workbench.config import Settings
from workbench.control import ChangeNotice, ControlStoreError, open_store
from workbench.events import JSON, Call, Caller, MisuseError, Tool, now_us
from workbench.policy.approvals.approval import (
    Approval,
    ApprovalRefusedError,
    ApprovalRequirement,
    Vote,
    bind,
    binding,
    check_decider,
)
from workbench.policy.approvals.bound_params import bound_params, kept_params
from workbench.policy.approvals.quorum import QuorumResult, agreed
from workbench.policy.redaction.redactor import Redactor

TTL_US = 15 * 60 * 1_000_000
"""A request waits 15 minutes for a human; an approval waits 15 minutes for its call."""
POLL_INTERVAL_S = 0.25
"""How soon a decision in another process is seen, where nobody tells of it."""
NOTIFIED_POLL_INTERVAL_S = 2.0
"""How soon it is seen where it is told of, should that be missed."""
MAX_WAITING = 100
"""Pending requests of one caller."""
_TABLE = """
create table if not exists approvals (
  id text primary key, tenant text not null, subject text not null, tool text not null,
  args_hash text not null, definition_hash text not null, binding text not null, arguments text not null, clear text,
  source text not null, call text not null, run text not null, status text not null,
  created_us integer not null, expires_us integer not null,
  decided_by text not null default '', decided_via text not null default '', decided_us integer not null default 0,
  note text not null default '', used_us integer not null default 0,
  approvers integer not null default 1, roles text not null default '[]', votes text not null default '[]',
  asked_hash text not null default '', asked_binding text not null default '', edited_by text not null default '',
  params text not null default '{}', params_hash text not null default ''
) strict;
create unique index if not exists approvals_live on approvals (binding) where status in ('pending', 'approved');
create index if not exists approvals_waiting on approvals (tenant, status);
"""
_ADDED = [
    ("approvals", f"{column} not null default {default}")
    for column, default in (
        ("approvers integer", 1), ("roles text", "'[]'"), ("votes text", "'[]'"),
        ("asked_hash text", "''"), ("asked_binding text", "''"), ("edited_by text", "''"),
        ("params text", "'{}'"), ("params_hash text", "''"),
    )
]  # fmt: skip


class Approvals:
    """All approvals of one control store, shared by every process that opens it.

    Args:
        where: settings, or a state folder alone.
        redactor: takes personal data out of what is kept.
        clock: microseconds since the epoch.
    """

    def __init__(self, where: Settings | Path, redactor: Redactor, *, clock: Callable[[], int] = now_us) -> None:
        self.store = open_store(where)
        self.store.prepare("approvals", _TABLE, added=_ADDED, told={"approvals": ChangeNotice("id")})
        self.store.on_change.append(self._told)
        self._redactor = redactor
        self._clock = clock
        self._ended: list[Approval] = []
        self.on_request: list[Callable[[Approval], None]] = []
        """Called with each new request once it is on the record."""
        self._waiting: dict[str, set[tuple[asyncio.AbstractEventLoop, asyncio.Event]]] = {}

    def request(self, call: Call, tool: Tool, needed: ApprovalRequirement = ApprovalRequirement()) -> Approval:  # noqa: B008 - frozen
        """Ask for a human's yes to `call`. The same call asked twice is one request, as long as it is alive.

        Args:
            call: what is to run.
            tool: what it calls.
            needed: whose yes it needs.

        Raises:
            MisuseError: the arguments are no plain JSON, or this caller has too many requests waiting.
        """
        bound = bind(call, tool)
        now = self._clock()
        self._ended.extend(self._end_old())
        if (live := self._live(bound.whole)) is not None:
            return live
        caller = call.caller
        waiting = "select count(*) from approvals where tenant = ? and subject = ? and status = 'pending'"
        if self._one(waiting, caller.tenant, caller.subject)[0] >= MAX_WAITING:
            raise MisuseError(
                f"{caller.subject} has {MAX_WAITING} approvals waiting.",
                hint="Decide them, or let them expire in 15 minutes.",
            )
        row = {
            "id": f"apr_{secrets.token_urlsafe(16)}",
            "tenant": caller.tenant,
            "subject": caller.subject,
            "tool": tool.qualified,
            "args_hash": bound.arguments,
            "definition_hash": bound.definition,
            "params_hash": bound.params,
            "binding": bound.whole,
            "arguments": orjson.dumps(self._redactor.record(call.arguments, caller.tenant)).decode(),
            "clear": orjson.dumps(call.arguments).decode(),
            "params": orjson.dumps(self._redactor.record(kept_params(bound_params(call)), caller.tenant)).decode(),
            "source": call.source,
            "call": call.id,
            "run": call.run,
            "status": "pending",
            "created_us": now,
            "expires_us": now + TTL_US,
            "approvers": needed.approvers,
            "roles": orjson.dumps(needed.roles).decode(),
        }
        names = ", ".join(row)
        marks = ", ".join("?" * len(row))
        self._change(f"insert into approvals ({names}) values ({marks}) on conflict do nothing", *row.values())
        live = self._live(bound.whole)
        if live is None:
            raise MisuseError("The approval ended while it was being asked for.", hint="Make the call again.")
        return live

    def decide(
        self,
        id: str,
        approve: bool,
        by: Caller | str,
        note: str = "",
        *,
        via: str = "",
        arguments: JSON | None = None,
        seen: str = "",
    ) -> Approval:
        """Say yes or no to a pending request. One no ends it; a yes may need further ones.

        Args:
            id: of the request.
            approve: True for yes; everything but True is no.
            by: who decides. A `Caller` is held to tenant, scope and four eyes; a name stands for somebody who was
                authenticated and authorised before, and is held to four eyes.
            note: why, for the record.
            via: the door of the decision.
            arguments: with a yes, what shall run instead of what was asked for. Whether they fit the tool is for the
                caller of this method to check.
            seen: `args_hash` of what they looked at; needed where somebody else has changed the arguments.

        Raises:
            ApprovalRefusedError: unknown, expired or decided already; another tenant; no scope `approvals:decide`,
                or none of the
                roles that it needs; a second yes of the same person; other arguments than they saw; one's own call
                without scope `approvals:self` or elsewhere than at the app or the command line.
        """
        approval = self.get(id)
        if approval is None or (isinstance(by, Caller) and by.tenant != approval.tenant):
            raise ApprovalRefusedError(
                f"There is no approval {id!r}.", hint="`workbench approvals` lists those that wait."
            )
        name = by if isinstance(by, str) else by.subject
        check_decider(approval, by, via)
        if approve is True:
            if approval.status != "pending":
                raise _ended(approval)
            vote = Vote(by=name, via=via, us=self._clock(), note=note[:2000])
            done = self._agree(approval, agreed(approval, by, vote, arguments, seen), vote)
        else:
            now = self._clock()
            done = self._change(
                "update approvals set status = 'denied', decided_by = ?, decided_via = ?, decided_us = ?, note = ?, "
                "clear = null where id = ? and status = 'pending' and expires_us > ?",
                *(name, via, now, note[:2000], id, now),
            )
        after = self.get(id)
        if not done or after is None:
            if after is not None and after.status == "pending":
                raise ApprovalRefusedError(f"Approval {id} has just changed.", hint="Look at it again.")
            raise _ended(after) if after is not None else ApprovalRefusedError(f"Approval {id} is gone.")
        self._wake(id)
        return after

    def _agree(self, before: Approval, after: QuorumResult, vote: Vote) -> bool:
        """Keep one more yes, unless anything about the approval has changed since it was read."""
        taken = self._live(after.bound)
        if taken is not None and taken.id != before.id:
            raise ApprovalRefusedError("A call with exactly these arguments waits already.", hint=f"Decide {taken.id}.")
        edited, final = after.arguments, after.status == "approved"
        changes: dict[str, Any] = {
            "status": after.status,
            "votes": msgspec.json.encode(after.votes).decode(),
            "decided_by": ", ".join(each.by for each in after.votes),
            "decided_via": vote.via,
            "decided_us": vote.us,
            "note": vote.note,
        }
        if final:
            changes["expires_us"] = vote.us + TTL_US
        if edited is not None:
            changes |= {
                "args_hash": after.args_hash,
                "binding": after.bound,
                "arguments": orjson.dumps(self._redactor.record(edited, before.tenant)).decode(),
                "clear": orjson.dumps(edited).decode(),
                "edited_by": vote.by,
            }
            if not before.asked_hash:
                asked = binding(
                    *(before.tenant, before.subject, before.tool, before.args_hash, before.definition_hash),
                    before.params_hash,
                )
                changes |= {"asked_hash": before.args_hash, "asked_binding": asked}
        held = {"id": before.id, "args_hash": before.args_hash, "votes": msgspec.json.encode(before.votes).decode()}
        return self._change(
            f"update approvals set {', '.join(f'{name} = ?' for name in changes)} where "
            f"{' and '.join(f'{name} = ?' for name in held)} and status = 'pending' and expires_us > ?",
            *(*changes.values(), *held.values(), vote.us),
        )

    def consume(self, key: str, call: Call, tool: Tool) -> bool:
        """Use up an approval for `call`: True exactly once, and only for the call that was approved.

        Args:
            key: id of the approval, or `binding(call, tool)`.
            call: what is about to run; tenant, caller, tool and arguments must be those that were approved.
            tool: its definition must be the one that was approved.
        """
        return self.redeem(key, call, tool) is not None

    def redeem(self, key: str, call: Call, tool: Tool) -> Approval | None:
        """`consume`, returning the approval that was used up, for the record; None where `consume` says False."""
        used = self.take(key, call, tool)
        return used[0] if used else None

    def take(self, key: str, call: Call, tool: Tool) -> tuple[Approval, JSON] | None:
        """`redeem`, with the arguments that were approved: other ones than those of `call` where somebody changed them.

        A call with the arguments that were asked for, and one with those that were approved, both redeem it.
        """
        try:
            bound = bind(call, tool).whole
        except MisuseError:
            return None
        if not key:
            return None
        now, caller = self._clock(), call.caller
        held = (
            "tenant = ? and status = 'approved' and (id = ? or binding = ? or asked_binding = ?) and "
            "(binding = ? or asked_binding = ?) and subject = ? and tool = ? and expires_us > ?"
        )
        values = (caller.tenant, key, key, key, bound, bound, caller.subject, tool.qualified, now)
        found = self._one(f"select id, clear from approvals where {held}", *values)
        if found is None:
            return None
        row = self._one(
            f"update approvals set status = 'used', used_us = ?, clear = null where {held} and id = ? "
            f"returning {_COLUMNS}",
            *(now, *values, found[0]),
        )
        return (_approval(row), orjson.loads(found[1])) if row else None

    def binding(self, call: Call, tool: Tool) -> str:
        """The hash that an approval of this call is bound to.

        Raises:
            MisuseError: the arguments, or what goes with them, are no plain JSON.
        """
        return bind(call, tool).whole

    def get(self, id: str) -> Approval | None:
        """The approval as it stands, whatever its state."""
        row = self._one(f"select {_COLUMNS} from approvals where id = ?", id)
        if row is None:
            return None
        approval = _approval(row)
        if approval.status in ("pending", "approved") and approval.expires_us <= self._clock():
            return msgspec.structs.replace(approval, status="expired")
        return approval

    def pending(self, tenant: str) -> list[Approval]:
        """What waits for a human in this tenant, oldest first."""
        query = f"select {_COLUMNS} from approvals where tenant = ? and status = 'pending' order by created_us"
        found = [_approval(row) for row in self.store.rows(query, tenant)]
        now = self._clock()
        alive = [approval for approval in found if approval.expires_us > now]
        if len(alive) < len(found):
            self._ended.extend(self._end_old())
        return alive

    def arguments(self, id: str, viewer: Caller) -> JSON | None:
        """The arguments in clear, for somebody of the tenant who may decide and may see personal data.

        Everybody else of the tenant gets them as recorded. They are kept in clear only while the approval is alive.
        None when there is no such approval in the tenant.
        """
        row = self._one("select tenant, arguments, clear, expires_us from approvals where id = ?", id)
        if row is None or row[0] != viewer.tenant:
            return None
        clear = (
            row[2] is not None and row[3] > self._clock() and viewer.has("approvals:decide") and viewer.has("pii:read")
        )
        found: JSON = orjson.loads(row[2] if clear else row[1])
        return found

    def expire(self) -> list[Approval]:
        """End what is too old and wipe its arguments in clear; to be called now and then.

        Returns:
            What ended since the last time, for the record: each approval is returned to exactly one caller.
        """
        ended, self._ended = self._ended, []
        return ended + self._end_old()

    def _end_old(self) -> list[Approval]:
        rows = self.store.rows(
            "update approvals set status = 'expired', clear = null "
            f"where status in ('pending', 'approved') and expires_us <= ? returning {_COLUMNS}",
            self._clock(),
        )
        ended = [_approval(row) for row in rows]
        for approval in ended:
            self._wake(approval.id)
        return ended

    async def wait(self, id: str, timeout: float) -> Approval | None:
        """The approval once it is no longer pending, or as it stands after `timeout` seconds; None if there is none.

        Raises:
            ControlStoreError: nobody can say how it stands when the time is over.
        """
        mine = (asyncio.get_running_loop(), asyncio.Event())
        self._waiting.setdefault(id, set()).add(mine)
        deadline = time.monotonic() + timeout
        poll = POLL_INTERVAL_S if self.store.local else NOTIFIED_POLL_INTERVAL_S
        try:
            while True:
                mine[1].clear()
                left = deadline - time.monotonic()
                try:
                    approval = await self.store.aside(self._seen, id)
                    if approval is None or approval.status != "pending" or left <= 0:
                        return approval
                except ControlStoreError:
                    if left <= 0:
                        raise
                try:
                    await asyncio.wait_for(mine[1].wait(), min(poll, left))
                except TimeoutError:
                    continue  # another process may have decided
        finally:
            waiting = self._waiting.get(id, set())
            waiting.discard(mine)
            if not waiting:
                self._waiting.pop(id, None)

    def close(self) -> None:
        """Let go of the store."""
        self.store.close()

    def _seen(self, id: str) -> Approval | None:
        """The approval as it stands; one whose time is over is ended."""
        approval = self.get(id)
        if approval is not None and approval.status == "expired":
            self._ended.extend(self._end_old())
        return approval

    def _live(self, bound: str) -> Approval | None:
        live = "status in ('pending', 'approved')"
        row = self._one(f"select {_COLUMNS} from approvals where binding = ? and {live}", bound) or self._one(
            f"select {_COLUMNS} from approvals where asked_binding = ? and {live}", bound
        )
        return _approval(row) if row else None

    def _one(self, query: str, *values: Any) -> Any:
        return self.store.row(query, *values)

    def _change(self, statement: str, *values: Any) -> bool:
        return self.store.change(statement, *values) == 1

    def _told(self, table: str, key: str) -> None:
        """Another gateway decided, used or ended one."""
        for id in [key] if table == "approvals" else list(self._waiting) if not table else []:
            self._wake(id)

    def _wake(self, id: str) -> None:
        for loop, event in tuple(self._waiting.get(id, ())):
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)


_COLUMNS = ", ".join(Approval.__struct_fields__)


def _approval(row: tuple[Any, ...]) -> Approval:
    values = dict(zip(Approval.__struct_fields__, row, strict=True))
    for name in ("arguments", "params", "roles", "votes"):
        values[name] = orjson.loads(values[name])
    return msgspec.convert(values, Approval)


def _ended(approval: Approval) -> ApprovalRefusedError:
    again = "Make the call again to ask anew."
    hint = "Make the same call again: it runs once." if approval.status == "approved" else again
    return ApprovalRefusedError(f"Approval {approval.id} is {approval.status}.", hint=hint)
