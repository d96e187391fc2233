"""One yes for several calls: a named caller may repeat an approved call of one tool, for a time and a number of times.

Bound to tenant, caller, tool, definition, and to the approved arguments, except where a pattern lets others through.
States: pending → active → used_up | revoked | void; a pending one still needs the yes of further people. Every use is
one conditional UPDATE in the control store, so that several gateways together never give more uses than were agreed.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import msgspec
import orjson

from workbench.config import Settings
from workbench.control import open_store
from workbench.events import JSON, Call, Caller, MisuseError, Record, Tool, digest, now_us
from workbench.policy.approvals.approval import Approval, ApprovalRefusedError, bind
from workbench.policy.approvals.argument_patterns import check_patterns, matches, template
from workbench.policy.redaction.redactor import Redactor

SCOPE: Final = "approvals:standing"
"""Who may give one; beside `approvals:decide`."""
MIN_SECONDS: Final = 60.0
MAX_UNSEEN_SECONDS: Final = 3600.0
"""Longest time of one that somebody gives whose rights are only seen when they come: by token or certificate."""
PENDING_LIFETIME_US: Final = 15 * 60 * 1_000_000
"""How long one waits for further people, as the call itself does."""
MAX_ACTIVE: Final = 100
"""Of one tenant at a time."""

Status = Literal["pending", "active", "used_up", "expired", "revoked", "void"]

_TABLE: Final = """
create table if not exists standing_approvals (
  id text primary key, tenant text not null, subject text not null, tool text not null, approval text not null,
  args_hash text not null, definition_hash text not null, params_hash text not null, template text not null,
  patterns text not null, arguments text not null, shown_patterns text not null,
  status text not null, uses integer not null, used integer not null default 0, seconds integer not null,
  approvers integer not null, votes text not null, created_us integer not null, until_us integer not null,
  last_used_us integer not null default 0, ended_us integer not null default 0,
  ended_by text not null default '', why text not null default ''
) strict;
create unique index if not exists standing_approvals_pending on standing_approvals (approval)
  where status in ('pending', 'active');
create index if not exists standing_approvals_active on standing_approvals (tenant, subject, tool, status);
"""


class StandingTerms(Record, frozen=True, kw_only=True):
    """What somebody lets a caller repeat. At least one of `uses` and `seconds` is given; the setting limits both."""

    uses: int = 0
    """How many further calls; 0: as many as the setting allows."""
    seconds: float = 0
    """For how long; 0: as long as the setting allows."""
    patterns: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """JSON pointer → `enum`, `prefix` or `range`; all other arguments stay as they were approved."""


class StandingApprover(Record, frozen=True, kw_only=True):
    """Somebody who agreed to a standing approval, with what shows later whether they still may."""

    by: str
    via: str
    us: int
    note: str = ""
    method: str = "local"
    roles: tuple[str, ...] = ()


class StandingApproval(Record, frozen=True, kw_only=True):
    """One standing approval as it stands. `to_dict()` is what the record keeps."""

    id: str
    tenant: str
    subject: str
    """Who may repeat the call."""
    tool: str
    approval: str
    """The approval of the first call, with which it was given."""
    args_hash: str
    definition_hash: str
    params_hash: str
    arguments: JSON
    """Of that call, as they may be recorded."""
    patterns: JSON
    """As they may be recorded."""
    status: Status
    uses: int
    used: int = 0
    seconds: int
    approvers: int
    """How many people have to agree to it."""
    votes: tuple[StandingApprover, ...] = ()
    created_us: int
    until_us: int
    """End of its time; 0 while it is pending."""
    last_used_us: int = 0
    ended_us: int = 0
    ended_by: str = ""
    why: str = ""

    @property
    def left(self) -> int:
        """Uses that are left."""
        return max(0, self.uses - self.used)

    @property
    def by(self) -> str:
        """Who gave it."""
        return ", ".join(vote.by for vote in self.votes)

    def stated(self) -> JSON:
        """What is said of it with each call that it lets through."""
        return {"id": self.id, "uses_left": self.left, "until_us": self.until_us, "by": self.by}


class PreparedStandingApproval(NamedTuple):
    """A standing approval that was checked and is not kept yet."""

    approval: Approval
    args_hash: str
    terms: StandingTerms
    arguments: JSON


class StandingMatch(NamedTuple):
    """What was looked up for a call."""

    used: StandingApproval | None
    """The one that lets it through."""
    voided: tuple[StandingApproval, ...] = ()
    """Those that came to nothing meanwhile; to be recorded."""


class StandingApprovals:
    """All standing approvals of one control store, shared by every process that opens it.

    Args:
        where: settings; a folder alone leaves them off.
        redactor: takes personal data out of what is shown and recorded.
        clock: microseconds since the epoch.
    """

    def __init__(self, where: Settings | Path, redactor: Redactor, *, clock: Callable[[], int] = now_us) -> None:
        self.store = open_store(where)
        self.store.prepare("standing_approvals", _TABLE)
        self._redactor = redactor
        self._clock = clock
        on = isinstance(where, Settings) and where.standing_approvals
        self.max_uses = where.standing_approval_uses if on and isinstance(where, Settings) else 0
        self.max_seconds = where.standing_approval_seconds if on and isinstance(where, Settings) else 0.0

    @property
    def on(self) -> bool:
        """Whether the setting `standing_approvals` allows any."""
        return self.max_uses > 0

    def prepare(
        self, approval: Approval, arguments: JSON, terms: StandingTerms, by: Caller
    ) -> PreparedStandingApproval:
        """Check that `by` may give a standing approval on these terms, with their yes to `approval`.

        Args:
            approval: as it stands.
            arguments: in clear, as they are to be approved.
            terms: what may be repeated.
            by: who gives it.

        Raises:
            ApprovalRefusedError: it is switched off, or not theirs to give.
            MisuseError: the terms cannot be meant.
        """
        if not self.on:
            raise ApprovalRefusedError(
                "Standing approvals are switched off.", hint="The setting standing_approvals allows them."
            )
        if not by.has(SCOPE) or not by.has("approvals:decide"):
            raise ApprovalRefusedError(
                f"{by.subject} may not give standing approvals.", hint=f"The scope {SCOPE} is needed."
            )
        if not by.has("pii:read"):
            raise ApprovalRefusedError(
                f"{by.subject} sees the arguments without personal data and may not let them be repeated.",
                hint="The scope pii:read is needed.",
            )
        longest = self.max_seconds if by.method in ("local", "key") else min(self.max_seconds, MAX_UNSEEN_SECONDS)
        if by.method not in ("local", "key") and not by.roles:
            raise ApprovalRefusedError(
                f"What {by.subject} may do is only known while their token is shown.",
                hint="Give it with a key, or with a token that names roles.",
            )
        if not terms.uses and not terms.seconds:
            raise MisuseError(
                "A standing approval needs an end.", hint="Say how many uses, or how many seconds, or both."
            )
        if not 0 <= terms.uses <= self.max_uses:
            raise MisuseError(f"{terms.uses} uses cannot be given.", hint=f"Expected 1 to {self.max_uses}.")
        if terms.seconds and not MIN_SECONDS <= terms.seconds <= longest:
            raise MisuseError(
                f"{terms.seconds:g} seconds cannot be given.", hint=f"Expected {MIN_SECONDS:g} to {longest:g}."
            )
        check_patterns(terms.patterns, arguments)
        whole = StandingTerms(
            uses=terms.uses or self.max_uses, seconds=int(terms.seconds or longest), patterns=dict(terms.patterns)
        )
        prepared = PreparedStandingApproval(approval, digest(arguments), whole, arguments)
        before = self._of_approval(approval.id)
        if before is not None and before[0].args_hash == prepared.args_hash and before[1] != _terms_hash(prepared):
            raise ApprovalRefusedError(
                f"{before[0].by} has agreed to other terms.",
                hint=f"Agree to the same: {before[0].uses} uses, {before[0].seconds} s, {dict(before[0].patterns)}.",
            )
        return prepared

    def give(self, prepared: PreparedStandingApproval, by: Caller, *, via: str, note: str = "") -> StandingApproval:
        """Keep it, or add one more yes to it; it is active once as many people agreed as the call itself needs.

        Raises:
            ApprovalRefusedError: somebody has just given another one, or the same person agrees twice.
            MisuseError: too many are active.
        """
        now = self._clock()
        approval, terms = prepared.approval, prepared.terms
        vote = StandingApprover(by=by.subject, via=via, us=now, note=note[:2000], method=by.method, roles=by.roles)
        with self.store.exclusively("standing approvals"):
            before = self._of_approval(approval.id)
            if before is not None and before[1] != _terms_hash(prepared):
                self._end(before[0].id, "void", by.subject, "The arguments were changed.")
                before = None
            votes = (*(before[0].votes if before else ()), vote)
            if len({each.by for each in votes}) < len(votes):
                raise ApprovalRefusedError(f"{by.subject} has agreed already.", hint="Somebody else has to, too.")
            active = len(votes) >= approval.approvers
            changes: dict[str, Any] = {
                "votes": msgspec.json.encode(votes).decode(),
                "status": "active" if active else "pending",
                "until_us": now + terms.seconds * 1_000_000 if active else 0,
            }
            if before is not None:
                names = ", ".join(f"{name} = ?" for name in changes)
                self.store.change(
                    f"update standing_approvals set {names} where id = ? and status = 'pending'",
                    *(*changes.values(), before[0].id),
                )
                return self._get(before[0].id)
            return self._insert(prepared, changes, now)

    def _insert(self, prepared: PreparedStandingApproval, changes: dict[str, Any], now: int) -> StandingApproval:
        approval, terms = prepared.approval, prepared.terms
        count = "select count(*) from standing_approvals where tenant = ? and status in ('pending', 'active')"
        self.store.change(
            "update standing_approvals set status = 'expired', ended_us = until_us, patterns = '{}' "
            "where (status = 'active' and until_us <= ?) or (status = 'pending' and created_us <= ?)",
            *(now, now - PENDING_LIFETIME_US),
        )
        found = self.store.row(count, approval.tenant)
        if found is not None and found[0] >= MAX_ACTIVE:
            raise MisuseError(f"{MAX_ACTIVE} standing approvals are active.", hint="Revoke those that nobody needs.")
        kept = self._redactor.record
        row = {
            "id": f"sta_{secrets.token_urlsafe(16)}",
            "tenant": approval.tenant,
            "subject": approval.subject,
            "tool": approval.tool,
            "approval": approval.id,
            "args_hash": prepared.args_hash,
            "definition_hash": approval.definition_hash,
            "params_hash": approval.params_hash,
            "template": template(prepared.arguments, list(terms.patterns)) or "",
            "patterns": orjson.dumps(terms.patterns).decode(),
            "arguments": orjson.dumps(kept(prepared.arguments, approval.tenant)).decode(),
            "shown_patterns": orjson.dumps(kept(dict(terms.patterns), approval.tenant)).decode(),
            "uses": terms.uses,
            "seconds": int(terms.seconds),
            "approvers": approval.approvers,
            "created_us": now,
            **changes,
        }
        self.store.change(
            f"insert into standing_approvals ({', '.join(row)}) values ({', '.join('?' * len(row))})", *row.values()
        )
        return self._get(str(row["id"]))

    def use(self, call: Call, tool: Tool, may: Callable[[StandingApproval], bool]) -> StandingMatch:
        """Use one up for `call`, where there is one that lets exactly this through.

        Args:
            call: what is about to run.
            tool: what it calls, as it is now.
            may: whether those who gave it still may.
        """
        if not self.on:
            return StandingMatch(None)
        try:
            bound = bind(call, tool)
        except MisuseError:
            return StandingMatch(None)
        caller, now, voided = call.caller, self._clock(), []
        rows = self.store.rows(
            f"select {_COLUMNS}, template, patterns from standing_approvals where tenant = ? and subject = ? and "
            "tool = ? and status = 'active' and until_us > ? order by created_us",
            *(caller.tenant, caller.subject, tool.qualified, now),
        )
        for row in rows:
            standing, expected, patterns = _standing(row[:-2]), row[-2], orjson.loads(row[-1])
            if standing.definition_hash != bound.definition:
                voided += self._voided(standing, f"The definition of {tool.qualified} has changed.")
            elif standing.params_hash != bound.params or not matches(call.arguments, patterns, expected):
                continue
            elif not may(standing):
                voided += self._voided(standing, f"{standing.by} may no longer give it.")
            elif (used := self._count(standing.id, bound.definition, now)) is not None:
                return StandingMatch(used, tuple(voided))
        return StandingMatch(None, tuple(voided))

    def _count(self, id: str, definition: str, now: int) -> StandingApproval | None:
        row = self.store.row(
            "update standing_approvals set used = used + 1, last_used_us = ?, "
            "status = case when used + 1 >= uses then 'used_up' else status end, "
            "ended_us = case when used + 1 >= uses then ? else ended_us end, "
            "patterns = case when used + 1 >= uses then '{}' else patterns end "
            f"where id = ? and status = 'active' and used < uses and until_us > ? and definition_hash = ? "
            f"returning {_COLUMNS}",
            *(now, now, id, now, definition),
        )
        return _standing(row) if row is not None else None

    def _voided(self, standing: StandingApproval, why: str) -> list[StandingApproval]:
        return [self._get(standing.id)] if self._end(standing.id, "void", "", why) else []

    def revoke(self, id: str, by: Caller) -> StandingApproval:
        """End one at once, for every gateway.

        Raises:
            ApprovalRefusedError: there is none of that id in the tenant that could still be used, or it is not
                theirs to end.
        """
        if not by.has("approvals:decide"):
            raise ApprovalRefusedError(
                f"{by.subject} may not revoke standing approvals.", hint="approvals:decide is needed."
            )
        found = self.store.row("select tenant from standing_approvals where id = ?", id)
        if found is None or found[0] != by.tenant or not self._end(id, "revoked", by.subject, "It was revoked."):
            raise ApprovalRefusedError(
                f"There is no standing approval {id[:80]!r} in force.", hint="List those that are."
            )
        return self._get(id)

    def active(self, tenant: str, definitions: Mapping[str, str] | None = None) -> list[StandingApproval]:
        """Those of a tenant that can be used or wait for further people, the oldest first.

        Args:
            tenant: whose.
            definitions: tool → hash of its definition as it is listed now; those of another one are void, and left out.
        """
        rows = self.store.rows(
            f"select {_COLUMNS} from standing_approvals where tenant = ? and "
            "((status = 'pending' and created_us > ?) or (status = 'active' and until_us > ?)) order by created_us",
            *(tenant, self._clock() - PENDING_LIFETIME_US, self._clock()),
        )
        found: Sequence[StandingApproval] = [_standing(row) for row in rows]
        known = definitions or {}
        return [each for each in found if known.get(each.tool, each.definition_hash) == each.definition_hash]

    def close(self) -> None:
        """Let go of the store."""
        self.store.close()

    def _end(self, id: str, status: Status, by: str, why: str) -> bool:
        return (
            self.store.change(
                "update standing_approvals set status = ?, ended_us = ?, ended_by = ?, why = ?, patterns = '{}' "
                "where id = ? and status in ('pending', 'active')",
                *(status, self._clock(), by, why, id),
            )
            == 1
        )

    def _of_approval(self, approval: str) -> tuple[StandingApproval, str] | None:
        """The pending one that was given with an approval, and the hash of its terms."""
        row = self.store.row(
            f"select {_COLUMNS}, patterns from standing_approvals where approval = ? and status in "
            "('pending', 'active')",
            approval,
        )
        if row is None:
            return None
        found = _standing(row[:-1])
        return found, digest([found.args_hash, found.uses, found.seconds, orjson.loads(row[-1])])

    def _get(self, id: str) -> StandingApproval:
        row = self.store.row(f"select {_COLUMNS} from standing_approvals where id = ?", id)
        assert row is not None
        return _standing(row)


def _terms_hash(prepared: PreparedStandingApproval) -> str:
    terms = prepared.terms
    return digest([prepared.args_hash, terms.uses, int(terms.seconds), dict(terms.patterns)])


_COLUMNS = ", ".join("shown_patterns" if name == "patterns" else name for name in StandingApproval.__struct_fields__)


def _standing(row: Sequence[Any]) -> StandingApproval:
    values = dict(zip(StandingApproval.__struct_fields__, row, strict=True))
    for name in ("arguments", "patterns", "votes"):
        values[name] = orjson.loads(values[name])
    return msgspec.convert(values, StandingApproval)
